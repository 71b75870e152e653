import pytest
import torch
import torchvision

from slimprune.budget import CostModel
from slimprune.graph import find_groups, keep_channels, prove_removal
from slimprune.graph.embeddings import bound_at_once, embeddings_of
from slimprune.graph.groups import ChannelGroup, Slot
from slimprune.graph.proof import Proof
from tests.graph.test_proof import tampered
from tests.networks import EXAMPLE, halves


def group(name, width, *slots):
    return ChannelGroup(
        name, width, tuple(Slot(t, d, torch.arange(width * n).view(width, n), r) for t, d, n, r in slots)
    )


def test_heads_of_an_embedding_are_those_that_are_made_of_it():
    channels = group("patches", 12, ("patches.weight", 0, 1, "producer"), ("qkv.weight", 1, 1, "consumer"))
    heads = group("qkv", 4, ("qkv.weight", 0, 9, "producer"), ("proj.weight", 1, 3, "consumer"))
    other = group("wide", 12, ("wide.weight", 0, 1, "producer"))
    (embedding,) = embeddings_of([channels, heads, other])
    assert embedding.members == (channels, heads)
    assert {name: kept.tolist() for name, kept in embedding.kept(torch.tensor([1, 3])).items()} == {
        "patches": [3, 4, 5, 9, 10, 11],
        "qkv": [1, 3],
    }
    merged = embedding.merged()
    assert merged.width == 4
    assert merged.slots[0].index.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert merged.slots[2].index.shape == (4, 9)
    assert embeddings_of([channels.protect("asked for"), heads]) == []


def embedding(name):
    """Return a group of 12 channels, and one of 4 heads that are made of it."""
    channels = (f"{name}.weight", 0, 1, "producer"), (f"{name}.qkv.weight", 1, 1, "consumer")
    heads = (f"{name}.qkv.weight", 0, 9, "producer"), (f"{name}.proj.weight", 1, 3, "consumer")
    return group(name, 12, *channels), group(f"{name}.qkv", 4, *heads)


def test_bound_embeddings_are_told_from_free_ones_by_five_proofs():
    groups = [*embedding("bound"), *embedding("free"), group("wide", 16, ("wide.weight", 0, 1, "producer"))]
    asked = []

    def prove(kept):
        asked.append(sorted(kept))
        return Proof(0.0 if len(kept["bound"]) == 3 * len(kept["bound.qkv"]) else 1.0)

    parts = {one.id: torch.arange(one.width - 1) for one in groups}
    (found,) = bound_at_once(prove, groups, parts)
    assert found.channels.id == "bound"
    # Everything by itself, both shares of both embeddings, and each embedding by itself.
    assert asked == [sorted(parts)] * (1 + 2 + 2)
    assert bound_at_once(lambda kept: Proof(1.0), groups, parts) == []
    assert bound_at_once(lambda kept: Proof(0.0), groups, parts) == []


@pytest.fixture(scope="module")
def swin():
    """torchvision's Swin: attention in shifted windows, a table of positions, heads of the embedding's width."""
    torch.manual_seed(0)
    model = torchvision.models.SwinTransformer([1, 1], 8, [2, 1], [2, 4], [4, 4], num_classes=4)
    return model, find_groups(model, EXAMPLE)


def test_window_attention_loses_heads_with_its_embedding(swin):
    model, groups = swin
    free = {group.id: group.width for group in groups if group.protected_reason is None}
    assert free == {
        "features.0.0": 2,
        "features.1.0.mlp.0": 32,
        "features.1.1.mlp.0": 32,
        "features.2.reduction": 4,
        "features.3.0.mlp.0": 64,
    }
    costs = CostModel.of(model, groups, EXAMPLE)
    for kept in (halves(groups), {"features.2.reduction": torch.tensor([0, 2, 3])}):
        slim = keep_channels(model, groups, kept)
        proof = prove_removal(model, slim, groups, kept, EXAMPLE)
        assert proof.problem is None
        assert proof.max_rel_diff <= 1e-9
        widths = torch.tensor([len(kept.get(group.id, range(group.width))) for group in groups]).numpy()
        assert costs.cost(widths).macs == CostModel.of(slim, [], EXAMPLE).dense.macs


def test_a_wrong_head_of_the_table_of_positions_is_found(swin):
    model, groups = swin
    stage = next(group for group in groups if group.id == "features.2.reduction")
    number = next(n for n, slot in enumerate(stage.slots) if "bias_table" in slot.name)
    kept = {stage.id: torch.arange(2)}
    wrong = [tampered(stage, number, [0, 1])]
    assert not prove_removal(model, keep_channels(model, wrong, kept), wrong, kept, EXAMPLE).passed
