import json

import pytest
import torch

from slimprune.errors import VerificationError
from slimprune.files import adapter, read_value
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
    text = adapter(Slot).dump_json(Slot("conv.weight", 1, index, "consumer"))
    plain = json.loads(text)
    assert isinstance(plain["index"], packed_as)
    restored = read_value(Slot, text, "slot")
    assert torch.equal(restored.index, index)
    assert (restored.name, restored.dim, restored.role) == ("conv.weight", 1, "consumer")


@pytest.mark.parametrize("kind", TOYS)
def test_group_survives_json(kind):
    for group in find_groups(toy(kind), EXAMPLE):
        restored = read_value(ChannelGroup, adapter(ChannelGroup).dump_json(group), "group")
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"role": "reader"}, "slot cannot be read: role: expected 'producer', 'norm', "),
        ({"index": {"offset": 0}}, "width: expected a field, got none"),
        ({"index": "1"}, "expected an object, got '1'"),
        ({"index": [[0], [1, 2]]}, "index: expected sequence of length 1 at dim 1"),
        ({"dim": None}, "dim: expected a valid integer, got None"),
    ],
)
def test_an_odd_slot_is_refused_with_the_field(changes, message):
    plain = {"name": "conv.weight", "dim": 1, "role": "consumer", "index": [[0]], **changes}
    with pytest.raises(VerificationError) as caught:
        read_value(Slot, json.dumps(plain), "slot")
    assert message in str(caught.value)
