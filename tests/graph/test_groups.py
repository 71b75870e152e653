import json

import pytest
import torch

from slimprune.graph import ChannelGroup, Slot, find_groups, named_tensors
from tests.networks import EXAMPLE, TOYS, toy

INDICES = {
    "one entry a channel, from 32": (32 + torch.arange(4)[:, None], dict),
    "flatten, 4 entries a channel": (4 * torch.arange(5)[:, None] + torch.arange(4)[None, :], dict),
    "two halves tied": (torch.arange(3)[:, None] + torch.tensor([[0, 3]]), dict),
    "a single channel": (torch.tensor([[7]]), dict),
    "no pattern": (torch.tensor([[5], [1], [2]]), list),
}


@pytest.mark.parametrize(("index", "packed_as"), INDICES.values(), ids=INDICES)
def test_slot_survives_json(index, packed_as):
    plain = json.loads(json.dumps(Slot("conv.weight", 1, index, "consumer").to_json()))
    assert isinstance(plain["index"], packed_as)
    restored = Slot.from_json(plain)
    assert torch.equal(restored.index, index)
    assert (restored.name, restored.dim, restored.role) == ("conv.weight", 1, "consumer")


@pytest.mark.parametrize("kind", TOYS)
def test_group_survives_json(kind):
    for group in find_groups(toy(kind), EXAMPLE):
        restored = ChannelGroup.from_json(json.loads(json.dumps(group.to_json())))
        assert (restored.id, restored.width, restored.protected_reason) == (
            group.id,
            group.width,
            group.protected_reason,
        )
        assert all(torch.equal(a.index, b.index) for a, b in zip(restored.slots, group.slots, strict=True))


@pytest.mark.parametrize("kind", TOYS)
def test_groups_are_disjoint_and_within_their_tensors(kind):
    model = toy(kind)
    tensors, taken = named_tensors(model), set()
    for group in find_groups(model, EXAMPLE):
        for slot in group.slots:
            assert slot.index.shape[0] == group.width
            assert int(slot.index.max()) < tensors[slot.name].shape[slot.dim]
            entries = {(slot.name, slot.dim, position) for position in slot.index.flatten().tolist()}
            assert len(entries) == slot.index.numel()
            assert not entries & taken
            taken |= entries


def test_positions_are_those_of_the_channels():
    slot = Slot("linear.weight", 1, 4 * torch.arange(3)[:, None] + torch.arange(4), "consumer")
    assert slot.positions(torch.tensor([0, 2])).tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
