import pytest
import torch

from slimprune.graph import ChannelGroup, Slot, find_groups, keep_channels, prove_removal
from slimprune.graph.equal_widths import equal_widths, merged
from slimprune.graph.proof import Proof
from tests.graph.brought import WidthsReadElsewhere
from tests.networks import EXAMPLE, toy


def group(name, width=4):
    return ChannelGroup(name, width, (Slot(f"{name}.weight", 0, torch.arange(width)[:, None], "producer"),))


def first_half(one):
    return torch.arange(one.width // 2)


def sets_of(names, coupled, widths=None):
    """What is found where the groups of each set in `coupled` must have equal widths, and all others must be whole."""
    groups = [group(name, (widths or {}).get(name, 4)) for name in names]
    proofs = []

    def prove(kept):
        proofs.append(kept)
        fits = all(len(together & kept.keys()) in (0, len(together)) for together in coupled)
        allowed = kept.keys() <= set().union({"other"}, *coupled)
        return Proof(0.0 if fits and allowed else 1.0)

    found = equal_widths(prove, groups, {"other": torch.arange(2)}, [first_half])
    return ["".join(member.id for member in members) for members in found], len(proofs)


CASES = {
    "a pair": ("ab", [{"a", "b"}], ["ab"], 1),
    "two pairs and one that stays": ("abxcd", [{"a", "b"}, {"c", "d"}], ["ab", "cd"], 4),
    "three": ("abc", [{"a", "b", "c"}], ["abc"], 4),
    "a pair with another between": ("axb", [{"a", "b"}], ["ab"], 2),
    "none": ("xyz", [], [], 4),
    "one": ("x", [], [], 0),
}


@pytest.mark.parametrize("name", CASES)
def test_sets_that_lose_the_same_channels(name):
    names, coupled, expected, proofs = CASES[name]
    assert sets_of(names, coupled) == (expected, proofs)


def test_groups_of_different_widths_are_not_tried():
    assert sets_of("ab", [{"a", "b"}], {"b": 6}) == ([], 0)


def test_the_search_gives_up_after_a_number_of_proofs():
    assert sets_of([f"x{number}" for number in range(50)], [])[1] == 32


def test_merged_groups_stand_at_the_first_place():
    a, x, b = (group(name) for name in "axb")
    found = merged([a, x, b], [[a, b]])
    assert [one.id for one in found] == ["a", "x"]
    assert [slot.name for slot in found[0].slots] == ["a.weight", "b.weight"]


def test_a_width_that_is_read_from_another_layer_ties_the_two():
    model = toy(WidthsReadElsewhere)
    groups = find_groups(model, EXAMPLE)
    assert {one.id: one.layers for one in groups}["first"] == ("first", "second")
    kept = {"first": torch.tensor([0, 3, 5]), "between": torch.tensor([1, 2, 4, 6]), "left": torch.tensor([2, 5])}
    slim = keep_channels(model, groups, kept)
    assert (slim.first.out_channels, slim.second.out_channels, slim.between.out_channels) == (3, 3, 4)
    assert prove_removal(model, slim, groups, kept, EXAMPLE).max_rel_diff <= 1e-9
