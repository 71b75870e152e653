"""Every pattern is slimmed, proven, trained and exported, and a wrong index in any slot is found."""

from functools import cache

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from slimprune.budget import Budget, CostModel, Plan
from slimprune.export import export_onnx, verify_onnx
from slimprune.graph import find_groups, inputs_of, keep_channels, named_tensors, prove_removal
from slimprune.graph.example import random_inputs
from slimprune.surgery import Origin, load, save
from tests.graph.brought import BROUGHT
from tests.graph.kinds import SECOND
from tests.graph.patterns import PATTERNS, Named, TwoInputs, example_of
from tests.graph.rarer import RARER, ConvGru, ConvLstm
from tests.graph.recurrent import RECURRENT, Crnn, GatedOnce
from tests.graph.test_proof import tampered
from tests.networks import halves, toy

KINDS = PATTERNS | BROUGHT | SECOND | RECURRENT | RARER
LONG, UNROLLED = pytest.mark.slow, {*RECURRENT, ConvLstm, ConvGru} - {Crnn, GatedOnce}


@cache
def found(kind):
    model = toy(kind)
    return model, example_of(kind), find_groups(model, example_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_groups_are_these(kind):
    _, _, groups = found(kind)
    assert {group.id: group.width for group in groups if group.protected_reason is None} == KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_half_of_the_channels_go_and_that_is_proven(kind):
    model, example, groups = found(kind)
    kept = halves(groups)
    slim = keep_channels(model, groups, kept)
    proof = prove_removal(model, slim, groups, kept, example)
    assert proof.problem is None
    assert proof.max_rel_diff <= 1e-9
    assert size(slim) < 0.8 * size(model)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_lose_different_shares_and_that_is_proven(kind):
    model, example, groups = found(kind)
    free = [group for group in groups if group.protected_reason is None]
    kept = {group.id: torch.arange(number % 2, group.width - number % 3) for number, group in enumerate(free, 1)}
    proof = prove_removal(model, keep_channels(model, groups, kept), groups, kept, example)
    assert proof.problem is None
    assert proof.max_rel_diff <= 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_the_slim_network_trains(kind):
    model, example, groups = found(kind)
    slim = keep_channels(model, groups, halves(groups)).train()
    outputs = tree_leaves(slim(*random_inputs(example, seed=0, double=False)))
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in slim.parameters())
    torch.optim.SGD(slim.parameters(), lr=0.1).step()
    assert all(parameter.isfinite().all() for parameter in slim.parameters())


class OneTensor(nn.Module):
    """A network of several inputs and outputs behind one of each, which is what the exporter takes."""

    def __init__(self, network, kind):
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, x):
        if self.kind is Named:
            outputs = self.network({"image": x, "masks": [x[:, :1]]})
        else:
            outputs = self.network(x, x[:, :1]) if self.kind is TwoInputs else self.network(x)
        return outputs if isinstance(outputs, torch.Tensor) else torch.cat(tree_leaves(outputs), 1)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=LONG if kind in UNROLLED else ()) for kind in KINDS])
def test_the_slim_network_is_exported_and_agrees(kind, tmp_path):
    model, _, groups = found(kind)
    slim = OneTensor(keep_channels(model, groups, halves(groups)), kind).eval()
    export_onnx(slim, torch.zeros(1, 3, 8, 8), tmp_path / "slim.onnx")
    samples = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert verify_onnx(slim, tmp_path / "slim.onnx", samples).top1_agreement == 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_wrong_index_in_any_slot_is_found(kind):
    model, example, groups = found(kind)
    for group in groups:
        kept = {group.id: torch.arange(group.width // 2)}
        for number, slot in enumerate(group.slots if group.protected_reason is None else ()):
            if slot.name.endswith(("._u", "._v")):  # estimates of a spectral norm, which the proof takes as given
                continue
            wrong = [tampered(group, number, kept[group.id].tolist())]
            proof = prove_removal(model, keep_channels(model, wrong, kept), wrong, kept, example)
            assert not proof.passed, (group.id, slot.name, slot.dim)


@pytest.mark.parametrize("kind", KINDS)
def test_it_costs_what_is_predicted(kind):
    model, example, groups = found(kind)
    costs, kept = CostModel.of(model, groups, example), halves(groups)
    widths = torch.tensor([len(kept.get(group.id, range(group.width))) for group in groups]).numpy()
    slim = keep_channels(model, groups, kept)
    assert costs.cost(widths).params == size(slim)
    assert costs.cost(widths).macs == CostModel.of(slim, [], example).dense.macs
    assert costs.dense.params == size(model)


@pytest.mark.parametrize("kind", KINDS)
def test_its_bundle_is_loaded_into_a_dense_network(kind, tmp_path):
    model, example, groups = found(kind)
    costs, kept = CostModel.of(model, groups, example), halves(groups)
    kept = {group.id: kept.get(group.id, torch.arange(group.width)) for group in groups}
    slim = keep_channels(model, groups, kept).eval()
    plan = Plan(tuple(groups), kept, Budget(0.5), "uniform", costs.dense, costs.dense)
    save(slim, plan, tmp_path / "slim", origin=Origin(None), recipe={}, results={})
    inputs = random_inputs(example, seed=0, double=False)
    loaded = load(tmp_path / "slim", model=toy(kind))
    tensors = named_tensors(slim), named_tensors(loaded)
    assert all(torch.equal(*pair) for pair in zip(*(each.values() for each in tensors), strict=True))
    for pair in zip(*(tree_leaves(one(*inputs)) for one in (slim, loaded)), strict=True):
        torch.testing.assert_close(*pair)  # a spectral norm rounds by where its weights lie in memory


def test_tied_weights_stay_tied():
    model, _, groups = found(next(kind for kind in PATTERNS if kind.__name__ == "TiedWeights"))
    slim = keep_channels(model, groups, halves(groups))
    assert slim.second.weight is slim.first.weight


def test_arguments_are_a_tuple_or_one():
    assert inputs_of({"image": 1}) == ({"image": 1},)
    assert inputs_of((1, 2)) == (1, 2)


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())
