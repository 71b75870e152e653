"""Latency as a quantity, by clocks that are formulas."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from slimprune.budget import RULES, Budget, CostModel, LatencyModel, allocate, least_widths, schedule_target
from slimprune.errors import BudgetError, UsageError
from slimprune.graph import find_groups
from tests.budget.test_allocate import fake_scores, sizes
from tests.networks import EXAMPLE, Depthwise, Residual, named, toy

allocation = sys.modules["slimprune.budget.allocate"]  # the package's name of that is the function
WEIGHTS = ("stem.weight", "inner.weight", "outer.weight", "head.weight")


def product(extents):
    """A nanosecond for every entry of a kernel."""
    return 1e-9 * extents.prod(1).astype(float)


def blocked(extents):
    """By blocks of 16 on either side, and half as long again where rows are no multiple of 4."""
    return 1e-9 * (256 * -(-extents // 16)).prod(1) * np.where(extents[:, 0] % 4, 1.5, 1)


def residual(clock=product):
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE)
    return groups, LatencyModel.of(CostModel.of(model, groups, EXAMPLE), groups, WEIGHTS, clock)


def convolutions(arch, clock):
    """The model of all layers of a named architecture."""
    _, _, groups, costs = named(arch)
    weights = [name for name, shape in costs.shapes.items() if len(shape) > 1]
    return groups, LatencyModel.of(costs, groups, weights, clock)


def widths(plan):
    return np.array([width for _, width in sizes(plan)], np.int64)


def test_the_clock_gets_the_sizes_of_the_weights_at_the_widths():
    seen = []
    groups, model = residual(lambda extents: seen.append(extents.tolist()) or product(extents))
    assert [group.id for group in groups] == ["stem", "inner", "head"]
    cost = model.cost(np.array([3, 2, 4]))
    assert seen == [[[3, 3], [2, 3], [3, 2], [4, 3]]]  # rows and columns of stem, inner, outer, head
    assert cost.latency == 9 + 6 + 6 + 12
    counted = model.costs.cost(np.array([3, 2, 4]))
    assert (cost.params, cost.macs, cost.channels) == (counted.params, counted.macs, counted.channels)
    assert model.dense.latency == 18 + 30 + 30 + 24


def test_a_layer_that_is_used_twice_counts_twice():
    groups, model = residual()
    twice = LatencyModel.of(model.costs, groups, (*WEIGHTS, "inner.weight"), product)
    assert twice.dense.latency == model.dense.latency + 30


def test_a_depthwise_filter_has_rows_only():
    model = toy(Depthwise)
    groups = find_groups(model, EXAMPLE)
    costs = CostModel.of(model, groups, EXAMPLE)
    latency = LatencyModel.of(costs, groups, ("filter.weight",), product)
    assert latency.dense.latency == 8
    assert latency.cost(np.array([3, *latency.costs.widths[1:]])).latency == 3


def test_times_of_whole_networks_are_met_and_those_between_lie_on_a_line():
    _, model = residual()
    least, between = np.array([1, 1, 4]), np.array([3, 2, 4])
    assert [round(1e9 * model.alone(one)) for one in (least, between, model.costs.widths)] == [9, 33, 102]
    model = model.through((least, 190e-9), 1120e-9)  # 100 + 10 * alone
    assert [model.cost(one).latency for one in (least, between)] == [190, 430]
    assert model.dense.latency == 1120
    corrected = model.corrected(between, 860e-9)
    assert [corrected.cost(one).latency for one in (least, between)] == [380, 860]
    assert corrected.dense.latency == 1120
    assert corrected.corrected(between, 430e-9).cost(least).latency == 190


def test_a_narrowest_network_that_is_no_quicker_says_nothing_of_an_offset():
    _, model = residual()
    for narrowest in ((np.array([1, 1, 4]), 3e-6), (model.costs.widths, 1e-6)):
        found = model.through(narrowest, 2e-6)
        assert found.dense.latency == 2000
        assert found.cost(np.array([3, 2, 4])).latency == round(2000 * 33 / 102)


def test_without_times_a_latency_budget_is_refused():
    _, _, groups, costs = named("resnet20")
    with pytest.raises(UsageError, match="expected a cost model of measured times to know latency, got one without"):
        allocate(None, groups, Budget(0.5, "latency"), costs, rule="uniform")


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("clock", [product, blocked])
@pytest.mark.parametrize("round_to", [1, 8])
def test_every_rule_meets_a_latency_budget(rule, clock, round_to):
    groups, costs = convolutions("vgg19", clock)
    for ratio in (0.3, 0.5, 0.8):
        plan = allocate(fake_scores(groups), groups, Budget(ratio, "latency"), costs, rule=rule, round_to=round_to)
        left = plan.slim.latency / plan.dense.latency
        assert 0.9 * (1 - ratio) <= left <= 1 - ratio
        assert plan.achieved == 1 - left


class Jagged(LatencyModel):
    """Networks of 3,500 to 3,700 channels take twice their time."""

    def cost(self, widths):
        found = super().cost(widths)
        return replace(found, latency=found.latency * 2) if 3500 <= widths.sum() <= 3700 else found


def test_a_wider_network_is_taken_where_it_is_quicker(monkeypatch):
    groups, costs = convolutions("vgg19", product)
    plans = [
        allocate(None, groups, Budget(0.5, "latency"), model, rule="uniform")
        for model in (costs, Jagged(**vars(costs)))
    ]
    assert [plan.slim.channels > 3850 for plan in plans] == [True, True]
    monkeypatch.setattr(allocation, "_between", lambda count, longest: [])  # bisection ends below what is slow
    plan = allocate(None, groups, Budget(0.5, "latency"), Jagged(**vars(costs)), rule="uniform")
    assert plan.slim.channels < 3500


def test_width_that_costs_no_time_is_taken():
    """By blocks of 16, a width of 60 takes as long as one of 64."""
    groups, costs = convolutions("vgg19", blocked)
    plan = allocate(None, groups, Budget(0.5, "latency"), costs, rule="uniform")
    assert all(width % 16 == 0 for group, width in sizes(plan) if group.protected_reason is None)


def test_what_is_left_goes_to_what_fits():
    """Each channel of the stem takes 10, each of inner 1: what three and two leave is too little for the stem."""
    groups, costs = residual(lambda extents: 1e-6 * extents[:, 0] * [10, 1, 0, 0])
    plan = allocate(None, groups, Budget(1 - 34.5 / 65, "latency"), costs, rule="uniform", floor=0)
    assert plan.widths == {"stem": 3, "inner": 4, "head": 4}


def test_several_limits_are_met_with_latency_among_them():
    groups, costs = convolutions("resnet20", blocked)
    for budget in (
        Budget(0.3, "latency", {"macs": 0.8}),
        Budget(0.5, "latency", {"macs": 0.1}),
        Budget(0.5, "params", {"latency": 0.6}),
    ):
        plan = allocate(None, groups, budget, costs, rule="uniform", round_to=4)
        for of, ratio in budget.ratios.items():
            assert plan.slim.of(of) <= (1 - ratio) * plan.dense.of(of) + 1


def test_an_impossible_latency_names_the_floor():
    groups, costs = residual()
    with pytest.raises(BudgetError, match=r"cannot remove 0.99 of latency: the floor .* leaves \d+ of 102 ns, a ratio"):
        allocate(None, groups, Budget(0.99, "latency"), costs, rule="uniform")


def test_the_least_widths_are_those_of_the_tightest_plan():
    groups, costs = residual()
    least = least_widths(groups, 0.4, 2)
    assert least.tolist() == [4, 2, 4]  # ceil(0.4 * 6) = 3 and ceil(0.4 * 5) = 2 in multiples of 2; protected
    share = costs.cost(least).latency / costs.dense.latency
    plan = allocate(None, groups, Budget(1 - share, "latency"), costs, rule="uniform", floor=0.4, round_to=2)
    assert widths(plan).tolist() == least.tolist()


def test_criteria_that_narrow_step_by_step_count_macs_on_the_way():
    groups, costs = convolutions("resnet20", blocked)
    goal = schedule_target(groups, Budget(0.75, "latency"), costs)
    by_macs = schedule_target(groups, Budget(0.75, "macs"), costs)
    scores = fake_scores(groups).by_group
    for share in (0.5, 0.25):
        stays, expected = goal.narrow(scores, share), by_macs.narrow(scores, share)
        assert all((stays[group] == expected[group]).all() for group in scores)


@pytest.mark.parametrize(
    ("budget", "counted"),
    [
        (Budget(0.5, "latency"), Budget(0.5, "macs")),
        (Budget(0.5, "latency", {"macs": 0.8, "params": 0.1}), Budget(0.8, "macs", {"params": 0.1})),
        (Budget(0.5, "params", {"latency": 0.6}), Budget(0.5, "params", {"macs": 0.6})),
        (Budget(0.5, "params"), Budget(0.5, "params")),
    ],
)
def test_budgets_that_can_be_counted(budget, counted):
    assert budget.counted() == counted
