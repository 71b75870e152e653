"""Budgets beside units of several channels."""

import numpy as np
import pytest
import torch
from torch import nn

from slimprune.budget import Budget, CostModel, allocate
from slimprune.budget.coarse_units import around_unit, is_coarse, last
from slimprune.graph import find_groups
from slimprune.saliency import Scores
from tests.networks import EXAMPLE

PRICES = np.array([10, 1, 1])


def affordable(most):
    return lambda grants: PRICES[grants].sum() <= most


def test_what_a_unit_leaves_unused_goes_to_others_or_they_make_room_for_it():
    order = np.array([0, 1, 1, 0, 1, 2, 2, 1])
    # 10 + 1 + 1 are granted; the second unit of 10 does not fit into 20, but four more of price 1 do,
    # and it never fits beside the first, whatever is taken back.
    without, *others = around_unit(order, 3, affordable(19))
    assert (without.tolist(), others) == ([0, 1, 1, 1, 2, 2, 1], [])
    # Into 21 it fits if one of the two ones is taken back.
    without, fitting = around_unit(order, 3, affordable(21))
    assert (PRICES[without].sum(), PRICES[fitting].sum()) == (10 + 6, 10 + 10 + 1)
    assert fitting.tolist() == [0, 0, 1]


def test_a_group_ends_with_its_first_grant_that_does_not_fit():
    without, *_ = around_unit(np.array([0, 0, 1, 0, 2, 0]), 1, affordable(13))
    assert without.tolist() == [0, 1, 2]


def test_the_last_that_fits():
    assert [last(9, lambda n, most=most: n * n <= most) for most in (0, 1, 80, 81, 100)] == [0, 1, 8, 9, 9]


def coarse():
    """Group norms of eight groups, each before a convolution of four groups: units of 4 to 32 channels."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.ReLU()),
        *(nn.Conv2d(32, 16, 3, padding=1, groups=4), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU()),
        *(nn.Conv2d(64, 32, 3, padding=1, groups=4), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


@pytest.fixture(scope="module")
def found():
    model = coarse()
    groups = find_groups(model, EXAMPLE)
    return groups, CostModel.of(model, groups, EXAMPLE)


@pytest.mark.parametrize("rule", ["uniform", "tempered", "global"])
@pytest.mark.parametrize("of", ["params", "macs"])
def test_no_more_goes_than_is_needed(found, of, rule):
    groups, costs = found
    assert [group.width for group in groups if is_coarse(group)] == [2, 4, 2, 8]
    generator = torch.Generator().manual_seed(0)
    scores = Scores({group.id: torch.rand(group.width, generator=generator).double() for group in groups}, "", 1, None)
    for ratio in (0.1, 0.25, 0.4, 0.5, 0.6, 0.75):
        plan = allocate(scores, groups, Budget(ratio, of), costs, rule=rule)
        assert 0 <= plan.achieved - ratio < 0.1
        assert costs.cost(np.array([plan.widths[group.id] for group in groups])) == plan.slim


def test_limits_of_several_quantities_are_all_met(found):
    groups, costs = found
    plan = allocate(None, groups, Budget(0.25, "params", {"macs": 0.4}), costs, rule="uniform")
    assert plan.slim.params <= 0.75 * plan.dense.params
    assert 0.5 * plan.dense.macs <= plan.slim.macs <= 0.6 * plan.dense.macs
