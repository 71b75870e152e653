"""Widths at a budget in given proportions."""

import numpy as np
import pytest

from slimprune.budget import Budget, WidthSpace, allocate, find_rule
from slimprune.errors import BudgetError, UsageError
from tests.networks import named

CAP = 2.0


def space_of(arch="resnet20", of="macs", ratio=0.5, *, round_to=1, floor=0.05, cap=CAP, also=None):
    _, _, groups, costs = named(arch)
    return WidthSpace.of(groups, Budget(ratio, of, also or {}), costs, floor=floor, round_to=round_to, cap=cap)


def proportions_of(space, seed):
    return np.random.default_rng(seed).normal(size=len(space.free)) * 0.5


@pytest.mark.parametrize("arch", ["resnet20", "vgg19", "unet"])
@pytest.mark.parametrize(("of", "also"), [("macs", {}), ("params", {}), ("channels", {}), ("macs", {"params": 0.7})])
def test_widths_use_the_budget_up_and_no_more(arch, of, also):
    space = space_of(arch, of, 0.6, also=also)
    for seed in range(5):
        cost = space.costs.cost(space.widths(proportions_of(space, seed)))
        assert space.budget.allows(cost, space.costs.dense)
        used = max(cost.of(name) / space.budget.allowed(name, space.costs.dense) for name in space.budget.ratios)
        assert used > 0.95


@pytest.mark.parametrize("arch", ["resnet20", "vgg19"])
def test_under_a_budget_of_macs_there_are_no_more_parameters_than_with_uniform_widths(arch):
    space = space_of(arch, "macs", 0.8)
    most = space.costs.cost(space.uniform).params
    late = np.linspace(-1, 1, len(space.free))  # wide late layers, whose many weights are used seldom
    for proportions in (late, 3 * late, *(proportions_of(space, seed) for seed in range(5))):
        assert space.costs.cost(space.widths(proportions)).params <= most
    assert not np.array_equal(space.widths(late), space.uniform)


def test_equal_proportions_are_uniform_widths_as_allocated():
    """Both round down to the budget, in other steps."""
    space = space_of("vgg19", "macs", 0.9)
    plan = allocate(None, space.groups, space.budget, space.costs, rule="uniform")
    allocated = np.array([plan.widths[group.id] for group in space.groups])
    assert np.abs(space.uniform - allocated).max() <= 1
    assert np.array_equal(space.widths(np.full(len(space.free), 0.3)), space.uniform)


@pytest.mark.parametrize("rule", ["early", "erk"])
def test_the_proportions_of_a_rule_give_its_widths_again(rule):
    space = space_of("unet", "macs", 0.8, cap=8.0)
    plan = allocate(None, space.groups, space.budget, space.costs, rule=rule)
    found = space.widths(space.proportions(rule))
    assert np.abs(found - [plan.widths[group.id] for group in space.groups]).max() <= 1


def test_the_proportions_of_widths_give_them_again():
    space = space_of("unet", "macs", 0.8)
    widths = space.widths(proportions_of(space, 0))
    assert np.abs(space.widths(space.proportions_of(widths)) - widths).max() <= 1
    dense = np.array([group.width for group in space.groups])
    assert np.allclose(np.exp(space.proportions_of(widths)) * dense[space.free], widths[space.free])


def test_what_smaller_widths_save_is_a_share_of_what_is_tightest():
    space = space_of("vgg19", "macs", 0.9, also={"params": 0.1})
    smaller = space.uniform.copy()
    smaller[space.free[0]] -= 1
    macs, left = (space.costs.cost(widths).macs for widths in (space.uniform, smaller))
    assert space.tightest(space.uniform) == "macs"
    assert space.saved(space.uniform, smaller) == pytest.approx((macs - left) / macs)
    assert space.saved(space.uniform, space.uniform) > 0


def test_larger_proportions_give_wider_groups():
    space = space_of()
    proportions = np.zeros(len(space.free))
    proportions[3] = 0.3
    wide, uniform = space.widths(proportions), space.uniform
    assert wide[space.free[3]] > uniform[space.free[3]]


def test_no_group_is_wider_than_the_cap_or_the_dense_network():
    """2 * uniform, rounded up to a whole channel."""
    space = space_of("vgg19", "macs", 0.9)
    extreme = np.zeros(len(space.free))
    extreme[0], extreme[-1] = 5.0, 5.0
    widths = space.widths(extreme)
    assert (widths <= np.maximum(np.ceil(CAP * space.uniform), space.limits.low)).all()
    assert (space_of("vgg19", "macs", 0.2).limits.full <= [group.width for group in space.groups]).all()


def test_widths_are_multiples_and_at_least_the_floor():
    space = space_of("vgg19", "macs", 0.9, round_to=8, floor=0.1)
    for seed in range(5):
        widths = space.widths(proportions_of(space, seed))[space.free]
        assert (widths % 8 == 0).all()
        assert (widths >= 8).all()


def test_widths_are_a_rule_that_gives_them_again():
    """Within the channels that still fit the budget."""
    space = space_of("vgg19", "params", 0.9)
    widths = space.widths(proportions_of(space, 1))
    rule = space.rule(proportions_of(space, 1))
    plan = allocate(None, space.groups, space.budget, space.costs, rule=rule)
    again = np.array([plan.widths[group.id] for group in space.groups])
    assert ((again - widths >= 0) & (again - widths <= 1 + 0.02 * widths)).all()
    assert plan.rule == rule == find_rule(rule).name


@pytest.mark.parametrize("arch", ["resnet20", "vgg19", "unet:depth=3,width=8,upsampling=bilinear"])
def test_the_plan_of_a_rule_has_no_more_parameters_than_the_uniform_one(arch):
    space = space_of(arch, "macs", 0.9)
    uniform = allocate(None, space.groups, space.budget, space.costs, rule="uniform").slim
    late = np.linspace(-1, 1, len(space.free))
    rules = [space.rule(proportions) for proportions in (late, *(proportions_of(space, seed) for seed in range(4)))]
    assert any(rule.startswith("factors:") for rule in rules)
    for rule in rules:
        slim = allocate(None, space.groups, space.budget, space.costs, rule=rule).slim
        assert slim.params <= uniform.params
        assert slim.macs > 0.9 * uniform.macs


def test_a_budget_below_the_least_widths_is_refused():
    with pytest.raises(BudgetError, match="least widths"):
        space_of("vgg19", "macs", 0.99, floor=0.5)


@pytest.mark.parametrize("name", ["factors:", "factors:1,x", "factors:1,0", "factors:1,-2", "factors:1,inf"])
def test_factors_that_are_no_positive_numbers_are_refused(name):
    with pytest.raises(UsageError):
        find_rule(name)


@pytest.mark.parametrize("number", [-1, 1])
def test_too_few_and_too_many_factors_are_refused(number):
    space = space_of()
    given = len(space.free) + number
    with pytest.raises(UsageError, match=f"a factor for each of {len(space.free)} free groups, got {given}"):
        allocate(None, space.groups, space.budget, space.costs, rule="factors:" + ",".join("1" * given))
