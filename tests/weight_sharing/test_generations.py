"""Searches in generations: they find a minimum, evaluate equally often, and go on from what was done."""

from typing import get_args

import numpy as np
import pytest

from slimprune.budget import Budget, WidthSpace
from slimprune.types import WidthSearch
from slimprune.weight_sharing import found_by, search
from tests.networks import named

BOTTOM = np.array([0.5, -0.5, 0.25])
each_method = pytest.mark.parametrize("method", get_args(WidthSearch))


def bowl(point, generation):
    return float(np.square(point - BOTTOM).sum())


def first(count, seed=0):
    return list(np.random.default_rng(seed).normal(size=(count, 3)))


@pytest.mark.parametrize(("method", "distance"), [("cross-entropy", 0.05), ("evolution", 0.1)])
def test_the_bottom_of_a_bowl_is_found_with_equally_many_evaluations(method, distance):
    """12 generations of 30 are 360 evaluations; the best of as many points at random is several times as far away."""
    evaluated = []

    def counted(point, generation):
        evaluated.append(point)
        return bowl(point, generation)

    generations = search(method, counted, first(30), generations=12, seed=0)
    assert (len(generations), len(evaluated)) == (12, 360)
    assert np.abs(found_by(method, generations) - BOTTOM).max() < distance
    assert generations[-1].best < generations[0].best
    at_random = min(bowl(point, 0) for point in first(360))
    assert bowl(found_by(method, generations), 0) < at_random / 4


@each_method
def test_a_search_that_goes_on_ends_the_same(method):
    """Four generations at once, and two after two, with the same candidates throughout."""
    whole = search(method, bowl, first(10), generations=4, seed=3)
    half = search(method, bowl, first(10), generations=2, seed=3)
    evaluated = []

    def counted(point, generation):
        evaluated.append(point)
        return bowl(point, generation)

    assert search(method, counted, first(10), generations=4, seed=3, done=half) == whole
    assert len(evaluated) == 2 * 10


@each_method
def test_a_generation_is_judged_by_its_own_loss(method):
    """A constant that differs between generations changes nothing."""
    shifted = search(method, lambda point, number: bowl(point, 0) + 7 * number, first(10), generations=3, seed=0)
    plain = search(method, bowl, first(10), generations=3, seed=0)
    assert [one.elite for one in shifted] == [one.elite for one in plain]


@each_method
def test_every_generation_is_handed_over(method):
    sizes = []
    search(method, bowl, first(5), generations=3, seed=0, after=lambda done: sizes.append(len(done)))
    assert sizes == [1, 2, 3]


@each_method
def test_candidates_are_widths_within_the_budget(method):
    """Wanted is a network with a wide first layer, whose loss is minus its width; all candidates keep half the MACs."""
    _, _, groups, costs = named("resnet8")
    space = WidthSpace.of(groups, Budget(0.5, "macs"), costs, floor=0.05, round_to=1, cap=2.0)
    most = 0.5 * costs.dense.macs

    def narrowness(proportions, generation):
        widths = space.widths(proportions)
        assert costs.cost(widths).macs <= most
        return -float(widths[space.free[0]])

    start = [np.zeros(len(space.free)), *(np.random.default_rng(0).normal(size=(9, len(space.free))) * 0.5)]
    generations = search(method, narrowness, start, generations=4, seed=0, scaled=space.scaled)
    assert space.widths(found_by(method, generations))[space.free[0]] > space.uniform[space.free[0]]
