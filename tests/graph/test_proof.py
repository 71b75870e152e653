from dataclasses import replace

import pytest
import torch
from torch import nn

from slimprune.graph import find_groups, keep_channels, prove_removal
from slimprune.graph.proof import _compare, silenced
from tests.networks import EXAMPLE, NAMED, TOYS, Residual, halves, named, toy


@pytest.mark.parametrize("arch", NAMED)
def test_named_architectures_are_proven(arch):
    model, example, groups, _ = named(arch)
    kept = halves(groups)
    proof = prove_removal(model, keep_channels(model, groups, kept), groups, kept, example)
    assert proof.passed
    assert proof.max_rel_diff <= 1e-9
    assert {group.protected_reason for group in groups if group.protected_reason} == {"model output"}


@pytest.mark.parametrize("kind", TOYS)
def test_toys_are_proven(kind):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    kept = halves(groups)
    proof = prove_removal(model, keep_channels(model, groups, kept), groups, kept, EXAMPLE)
    assert proof.passed
    assert proof.max_rel_diff <= 1e-9


def tampered(group, number, kept):
    """The group with one position of one slot taken from a kept channel instead of a removed one."""
    slot = group.slots[number]
    removed = next(channel for channel in range(group.width) if channel not in kept)
    index = slot.index.clone()
    index[removed, 0], index[kept[0], 0] = slot.index[kept[0], 0], slot.index[removed, 0]
    slots = list(group.slots)
    slots[number] = replace(slot, index=index)
    return replace(group, slots=tuple(slots))


def slots_of_toys():
    """Every slot of every group that may be slimmed."""
    for kind in TOYS:
        for group in find_groups(toy(kind), EXAMPLE):
            if group.protected_reason is None:
                for number, slot in enumerate(group.slots):
                    yield pytest.param(kind, group.id, number, id=f"{kind.__name__}-{group.id}-{slot.name}-{slot.dim}")


@pytest.mark.parametrize(("kind", "group_id", "number"), list(slots_of_toys()))
def test_one_wrong_index_in_any_slot_is_found(kind, group_id, number):
    model = toy(kind)
    group = next(group for group in find_groups(model, EXAMPLE) if group.id == group_id)
    kept = {group.id: torch.arange(group.width // 2)}
    wrong = [tampered(group, number, kept[group.id].tolist())]
    proof = prove_removal(model, keep_channels(model, wrong, kept), wrong, kept, EXAMPLE)
    assert not proof.passed


@pytest.mark.parametrize(
    ("arch", "name"), [("vgg19", "features.3.weight"), ("resnet18", "fc.weight"), ("densenet121", "classifier.weight")]
)
def test_one_wrong_index_is_found_in_large_networks(arch, name):
    model, example, groups, _ = named(arch)
    group, number = next(
        (group, number)
        for group in groups
        for number, slot in enumerate(group.slots)
        if slot.name == name and slot.role == "consumer"
    )
    kept = {group.id: torch.arange(group.width // 2)}
    wrong = [tampered(group, number, kept[group.id].tolist())]
    assert not prove_removal(model, keep_channels(model, wrong, kept), wrong, kept, example).passed


def test_a_slim_model_with_wrong_attributes_is_found():
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE)
    kept = halves(groups)
    slim = keep_channels(model, groups, kept)
    slim.inner_bn.eps = 0.5
    assert not prove_removal(model, slim, groups, kept, EXAMPLE).passed


def test_silencing_leaves_consumers_alone():
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE)
    changed = silenced(dict(model.state_dict()), groups, {"stem": torch.tensor([0, 1])})
    assert "head.weight" not in changed
    assert torch.equal(changed["stem.weight"][:2], model.stem.weight[:2])
    assert not changed["stem.weight"][2:].any()


def test_an_output_that_ignores_the_input_proves_nothing():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.two(self.one(x * 0))

    model = Constant()
    (group, _) = find_groups(model, EXAMPLE)
    assert group.protected_reason == "not proven: the output does not depend on the input: nothing can be proven"


def test_a_removal_that_does_not_show_proves_nothing():
    class Unread(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.other(x) + 0.0 * self.two(self.one(x))

    reasons = {group.id: group.protected_reason for group in find_groups(Unread(), EXAMPLE)}
    assert reasons["one"] == "not proven: its removal does not show in the output: nothing can be proven"


def test_layer_norm_is_checked_structurally():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm, self.two = nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x):
            return self.two(self.norm(self.one(x.mean((2, 3)))))

    model = Block()
    groups = find_groups(model, EXAMPLE)
    kept = {"one": torch.tensor([1, 2, 5])}
    proof = prove_removal(model, keep_channels(model, groups, kept), groups, kept, EXAMPLE)
    assert (proof.passed, proof.structural) == (True, ("one",))
    assert not groups[0].exact


def test_every_output_counts_on_its_own_and_must_be_finite():
    a, large = torch.tensor([[0.0, 1.0], [2.0, 4.0]]), torch.tensor([[0.0], [1e6]])
    assert _compare([a, large], [a, large]).max_rel_diff == 0
    assert _compare([a, large], [a + 0.3, large]).max_rel_diff == pytest.approx(0.3 / 3)
    for outputs in ([a * float("nan"), large], [a, large * float("inf")]):
        assert not _compare([a, large], outputs).passed
