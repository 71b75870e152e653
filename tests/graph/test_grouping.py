import torch

from slimprune.graph import find_groups
from slimprune.graph.channel_ids import ChannelUnionFind
from slimprune.graph.grouping import build_groups
from tests.networks import EXAMPLE, Concat, Residual, Transposed, toy


def by_id(model):
    return {group.id: group for group in find_groups(model, EXAMPLE)}


def places(group):
    return {(slot.name, slot.dim, int(slot.index[0, 0])) for slot in group.slots}


def test_residual_sum_is_one_group():
    groups = by_id(toy(Residual))
    assert {name: group.width for name, group in groups.items()} == {"stem": 6, "inner": 5, "head": 4}
    assert groups["stem"].layers == ("stem", "outer")


def test_concat_gives_each_branch_its_columns():
    groups = by_id(toy(Concat))
    assert ("merge.weight", 1, 0) in places(groups["left"])
    assert ("merge.weight", 1, 4) in places(groups["right"])


def test_transposed_convolution_has_rows_and_columns_swapped():
    groups = by_id(toy(Transposed))
    assert ("up.weight", 1, 0) in places(groups["up"])
    assert ("up.weight", 0, 0) in places(groups["down"])


ORDER = {"a.weight": 0, "read.weight": 1}


def met(first, second):
    """Four rows, and columns of a second layer that meet them pairwise."""
    channel_ids = ChannelUnionFind()
    rows = channel_ids.place("a.weight", 0, 4, "producer")
    columns = channel_ids.place("read.weight", 1, 4, "consumer")
    channel_ids.unite(columns[first], rows[second])
    return channel_ids


def test_channels_that_meet_in_one_place_are_merged():
    channel_ids = met(torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, 2, 3]))  # columns 0 and 1 read two channels each
    (group,) = build_groups(channel_ids, ORDER)
    assert group.width == 2
    assert [slot.index.tolist() for slot in group.slots] == [[[0, 2], [1, 3]], [[0], [1]]]


def test_an_obstacle_protects_only_the_channels_that_meet_it():
    channel_ids = met(torch.arange(4), torch.tensor([3, 2, 1, 0]))
    channel_ids.protect(channel_ids.places["a.weight", 0][:2], "grouped")
    held, free = build_groups(channel_ids, ORDER)
    assert (free.protected_reason, held.protected_reason) == (None, "grouped")
    assert [slot.index.flatten().tolist() for slot in held.slots] == [[0, 1], [3, 2]]
    assert [slot.index.flatten().tolist() for slot in free.slots] == [[2, 3], [1, 0]]
    assert (held.id, free.id) == ("a", "a#2")


def test_columns_that_read_the_input_are_no_group():
    channel_ids = ChannelUnionFind()
    channel_ids.place("a.weight", 1, 3, "consumer")
    assert build_groups(channel_ids, ORDER) == []


def test_equal_parts_lose_equal_channels_unless_a_part_goes_as_a_whole():
    channel_ids = ChannelUnionFind()
    rows = channel_ids.place("a.weight", 0, 6, "producer")
    channel_ids.splits.append(rows.view(2, 3))
    (group,) = build_groups(channel_ids, ORDER)
    assert group.slots[0].index.tolist() == [[0, 3], [1, 4], [2, 5]]
    channel_ids = ChannelUnionFind()
    rows = channel_ids.place("a.weight", 0, 6, "producer")
    channel_ids.splits.append(rows.view(2, 3))
    channel_ids.unite(rows.view(2, 3), rows.view(2, 3)[:, :1])
    (group,) = build_groups(channel_ids, ORDER)
    assert group.slots[0].index.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_order_is_that_of_the_model_and_repeatable():
    first, second = ([group.id for group in find_groups(toy(Residual), EXAMPLE)] for _ in range(2))
    assert first == second == ["stem", "inner", "head"]
    assert torch.equal(torch.arange(6), by_id(toy(Residual))["stem"].slots[0].index.flatten())
