import json
import math

import pytest
import torch

from slimprune.budget import Budget, Cost, Plan, allocate
from slimprune.errors import UsageError
from tests.networks import named

DENSE = Cost(params=1000, macs=20_000, channels=50)


@pytest.mark.parametrize("ratio", [0, 1, 1.3, -0.1, float("nan"), float("inf")])
def test_ratios_outside_the_open_interval_are_refused(ratio):
    for budget in ({"ratio": ratio}, {"ratio": 0.5, "also": {"macs": ratio}}):
        with pytest.raises(UsageError, match=rf"expected ratio in \(0, 1\), got {ratio}"):
            Budget(**budget)


def test_unknown_quantities_are_refused():
    for budget in ({"of": "watts"}, {"also": {"watts": 0.5}}):
        with pytest.raises(UsageError, match=r"expected a quantity .params, macs, channels, latency., got 'watts'"):
            Budget(0.5, **budget)


def test_a_quantity_is_limited_once():
    with pytest.raises(UsageError, match="expected each quantity once in a budget, got macs twice"):
        Budget(0.5, "macs", {"params": 0.5, "macs": 0.4})


def test_several_limits_by_hand():
    budget = Budget(0.9, "params", {"macs": 0.75})
    assert budget.ratios == {"params": 0.9, "macs": 0.75}
    assert (budget.allowed("params", DENSE), budget.allowed("macs", DENSE)) == (100, 5000)
    for params, macs, allowed in ((100, 5000, True), (101, 5000, False), (100, 5001, False), (1, 1, True)):
        assert budget.allows(Cost(params, macs, 50), DENSE) is allowed


def test_what_is_allowed_is_exact_where_the_share_is_not_a_binary_fraction():
    for tenths in range(1, 10):
        assert Budget(tenths / 10).allowed("params", DENSE) == 1000 - 100 * tenths


def test_equal_budgets_are_equal_and_can_be_keys():
    same = {Budget(0.5, "macs", {"params": 0.5}), Budget(0.5, "macs", {"params": 0.5})}
    assert len(same) == 1
    assert Budget(0.5, "macs") not in same


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.9, 0.999])
def test_on_the_way_the_rest_falls_by_equal_factors(ratio):
    budget = Budget(ratio, "macs", {"params": 0.8})
    for progress in (0.1, 0.25, 0.5, 1):
        found = budget.on_the_way(progress)
        assert found.of == "macs"
        assert 1 - found.ratio == pytest.approx((1 - ratio) ** progress)
        assert 1 - found.also["params"] == pytest.approx(0.2**progress)


def test_the_way_ends_at_the_budget():
    budget = Budget(0.9, "macs", {"params": 0.3})
    assert budget.on_the_way(1).ratios == pytest.approx(budget.ratios, rel=1e-12)
    assert all(budget.on_the_way(1).allowed(of, DENSE) == budget.allowed(of, DENSE) for of in budget.ratios)


def test_the_way_to_a_hundredth_by_hand():
    assert Budget(0.99).on_the_way(0.5).ratio == pytest.approx(1 - math.sqrt(0.01))


@pytest.mark.parametrize("also", [{}, {"params": 0.6, "channels": 0.1}])
def test_a_plan_survives_json(also):
    _, _, groups, costs = named("resnet20")
    plan = allocate(None, groups, Budget(0.5, "macs", also), costs, rule="uniform")
    text = plan.to_json()
    restored = Plan.from_json(text)
    assert restored.to_json() == text
    assert json.loads(text)["budget"] == {"ratio": 0.5, "of": "macs", "also": also}
    assert restored.budget == plan.budget
    assert (restored.dense, restored.slim) == (plan.dense, plan.slim)
    assert all(torch.equal(restored.kept[group], plan.kept[group]) for group in plan.kept)


def test_plans_of_earlier_versions_limit_one_quantity():
    _, _, groups, costs = named("resnet20")
    plain = json.loads(allocate(None, groups, Budget(0.5), costs, rule="uniform").to_json())
    del plain["budget"]["also"]
    assert Plan.from_json(json.dumps(plain)).budget == Budget(0.5)


def test_what_was_achieved_is_the_removed_share():
    _, _, groups, costs = named("resnet20")
    plan = allocate(None, groups, Budget(0.5, "macs", {"params": 0.7}), costs, rule="uniform")
    assert plan.achieved == 1 - plan.slim.macs / plan.dense.macs
