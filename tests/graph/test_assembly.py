import torch

from slimprune.graph import find_groups
from slimprune.graph.assembly import assemble
from slimprune.graph.tracing import Obstacle, Reach, Touch
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


def producer(layer, width):
    return Touch(f"{layer}.weight", 0, "producer", list(range(width)), list(range(width)))


def test_channels_that_meet_in_one_place_are_merged():
    halves = Touch("read.weight", 1, "consumer", [0, 1, 0, 1], [0, 1, 2, 3])  # columns 0 and 1 read two channels each
    (group,) = assemble([Reach("a", 4, (producer("a", 4), halves), ())])
    assert group.width == 2
    assert [slot.index.tolist() for slot in group.slots] == [[[0, 2], [1, 3]], [[0], [1]]]


def test_an_obstacle_protects_only_the_channels_that_meet_it():
    obstacle = Obstacle("grouped", [0, 1])
    free, held = sorted(
        assemble([Reach("a", 4, (producer("a", 4),), (obstacle,))]), key=lambda g: g.protected_reason or ""
    )
    assert (free.protected_reason, held.protected_reason) == (None, "grouped")
    assert (held.slots[0].index.flatten().tolist(), free.slots[0].index.flatten().tolist()) == ([0, 1], [2, 3])
    assert {free.id, held.id} == {"a", "a#2"}


def test_order_is_that_of_the_model_and_repeatable():
    first, second = ([group.id for group in find_groups(toy(Residual), EXAMPLE)] for _ in range(2))
    assert first == second == ["stem", "inner", "head"]
    assert torch.equal(torch.arange(6), by_id(toy(Residual))["stem"].slots[0].index.flatten())
