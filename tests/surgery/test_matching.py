import pytest
import torch

from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup, Slot
from slimprune.surgery.matching import find_kept, remaining_widths


def slot(name, dim, positions, role="producer"):
    return Slot(name, dim, torch.tensor(positions).view(len(positions), -1), role)


def numbered(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


A = ChannelGroup("a", 4, (slot("one", 0, [0, 1, 2, 3]), slot("two", 1, [0, 1, 2, 3], "consumer")))
B = ChannelGroup("b", 3, (slot("two", 0, [0, 1, 2]), slot("three", 1, [[0, 3], [1, 4], [2, 5]], "consumer")))
DENSE = {"one": numbered(4, 2), "two": numbered(3, 4), "three": numbered(2, 6)}


def left(a, b):
    columns = [*b, *(channel + 3 for channel in b)]
    return {"one": DENSE["one"][a], "two": DENSE["two"][b][:, a], "three": DENSE["three"][:, columns]}


@pytest.mark.parametrize(("a", "b"), [([0, 1], [0, 2]), ([3], [1]), ([0, 1, 2, 3], [1, 2]), ([1, 2], [0, 1, 2])])
def test_widths_and_channels_are_found(a, b):
    widths = remaining_widths(DENSE, left(a, b), [A, B])
    assert widths == {"a": len(a), "b": len(b)}
    kept = find_kept(DENSE, left(a, b), [A, B], widths)
    assert {name: channels.tolist() for name, channels in kept.items()} == {"a": a, "b": b}


def test_protected_groups_are_whole():
    pruned = left([0, 1], [0, 1, 2])
    assert remaining_widths(DENSE, pruned, [A.protect("so"), B]) == {"a": 4, "b": 3}


def test_most_of_the_shapes_decide():
    pruned = {**left([0, 1], [0, 2]), "four": torch.zeros(3)}
    more = ChannelGroup("a", 4, (*A.slots, slot("four", 0, [0, 1, 2, 3], "norm")))
    assert remaining_widths({**DENSE, "four": torch.zeros(4)}, pruned, [more, B]) == {"a": 2, "b": 2}


def test_shapes_that_leave_it_open_are_refused():
    first, second = (
        ChannelGroup(name, 2, (slot("both", 0, positions),)) for name, positions in (("c", [0, 1]), ("d", [2, 3]))
    )
    with pytest.raises(UsageError, match="how many channels are left, got several answers for c, d"):
        remaining_widths({"both": torch.zeros(4)}, {"both": torch.zeros(3)}, [first, second])


def test_parts_of_one_layer_are_found_by_what_reads_them():
    first = ChannelGroup("c", 2, (slot("both", 0, [0, 1]), slot("reads", 1, [0, 1], "consumer")))
    second = ChannelGroup("d", 2, (slot("both", 0, [2, 3]),))
    dense = {"both": numbered(4, 3), "reads": numbered(5, 2)}
    pruned = {"both": dense["both"][[1, 2]], "reads": dense["reads"][:, [1]]}
    widths = remaining_widths(dense, pruned, [first, second])
    assert widths == {"c": 1, "d": 1}
    kept = find_kept(dense, pruned, [first, second], widths)
    assert {name: channels.tolist() for name, channels in kept.items()} == {"c": [1], "d": [0]}


def test_a_row_that_was_altered_is_found_by_the_layer_that_reads_it():
    pruned = left([0, 3], [0, 2])
    pruned["one"][1] += 0.5
    kept = find_kept(DENSE, pruned, [A, B], {"a": 2, "b": 2})
    assert {name: channels.tolist() for name, channels in kept.items()} == {"a": [0, 3], "b": [0, 2]}


def test_equal_channels_are_taken_as_they_come():
    dense = {name: torch.ones_like(tensor) for name, tensor in DENSE.items()}
    pruned = {name: torch.ones_like(tensor) for name, tensor in left([1, 3], [0, 2]).items()}
    kept = find_kept(dense, pruned, [A, B], {"a": 2, "b": 2})
    assert {name: channels.tolist() for name, channels in kept.items()} == {"a": [0, 1], "b": [0, 1]}
