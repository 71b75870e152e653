import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from slimprune.budget import RULES, Budget, CostModel, allocate, schedule_target
from slimprune.errors import BudgetError, UsageError
from slimprune.graph import find_groups, free_groups, keep_channels
from slimprune.measure import count_params
from slimprune.saliency import Scores, exponential
from tests.networks import EXAMPLE, Residual, named, toy

RATIOS = (0.25, 0.5, 0.75, 0.9, 0.95)
ARCHS = ("vgg19", "resnet18", "unet")


def fake_scores(groups, seed=0):
    """Scores with the shape of real ones: a scale per layer over four decades, log-normal channels within."""
    generator = np.random.default_rng(seed)
    raw = {
        group.id: torch.from_numpy(10 ** generator.uniform(-4, 0) * generator.lognormal(0, 1, group.width))
        for group in free_groups(groups)
    }
    total = sum(values.sum() for values in raw.values())
    return Scores({group: values / total for group, values in raw.items()}, "fake", 1, None)


def plans(arch, of, rule, **options):
    _, _, groups, costs = named(arch)
    scores = fake_scores(groups)
    return [allocate(scores, groups, Budget(ratio, of), costs, rule=rule, **options) for ratio in RATIOS]


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("of", ["params", "macs", "channels"])
@pytest.mark.parametrize("arch", ARCHS)
def test_budgets_are_met(arch, of, rule):
    floor = 0.01 if of == "channels" else 0.05
    found = plans(arch, of, rule, floor=floor)
    for ratio, plan in zip(RATIOS, found, strict=True):
        asked = (1 - ratio) * plan.dense.of(of)
        assert 0.98 * asked <= plan.slim.of(of) <= asked + 1e-6  # 0.1 * 2890 is a hair below 289
        assert all(width >= max(1, np.ceil(floor * group.width)) for group, width in sizes(plan))
    for wide, narrow in pairwise(found):
        assert all(narrow.widths[group] <= width for group, width in wide.widths.items())


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("of", ["params", "macs"])
@pytest.mark.parametrize("arch", ARCHS)
def test_rounded_budgets_are_never_above_the_request(arch, of, rule):
    found = plans(arch, of, rule, round_to=8)
    for ratio, plan in zip(RATIOS, found, strict=True):
        assert plan.slim.of(of) <= (1 - ratio) * plan.dense.of(of) + 1e-6
        assert all(width % 8 == 0 and width >= 8 for group, width in sizes(plan) if group.protected_reason is None)
    for wide, narrow in pairwise(found):
        assert all(narrow.widths[group] <= width for group, width in wide.widths.items())


def sizes(plan):
    return [(group, plan.widths[group.id]) for group in plan.groups]


@pytest.mark.parametrize("arch", ARCHS)
def test_predicted_parameters_are_the_slim_models(arch):
    model = named(arch)[0]
    plan = plans(arch, "params", "global")[3]
    assert count_params(keep_channels(model, plan.groups, plan.kept)) == plan.slim.params


def small(**options):
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE, protect=options.pop("protect", ()))
    costs = CostModel.of(model, groups, EXAMPLE)
    scores = Scores(
        {
            "stem": torch.tensor([0.5, 0.1, 0.4, 0.1, 0.1, 0.2], dtype=torch.float64),
            "inner": torch.tensor([0.9, 0.0, 0.3, 0.3, 0.1], dtype=torch.float64),
        },
        "fake",
        1,
        None,
    )
    return allocate(scores, groups, options.pop("budget", Budget(0.5, "channels")), costs, **options)


def test_global_is_one_threshold_over_all_channels():
    """15 channels, 4 protected; 7 may stay: 4 + the best 3 of 0.9, 0.5, 0.4, 0.3, ..."""
    plan = small(rule="global", floor=0)
    assert plan.slim.channels == 7
    assert plan.kept["inner"].tolist() == [0]
    assert plan.kept["stem"].tolist() == [0, 2]


def test_ties_go_to_the_earlier_group_and_the_lower_channel():
    plan = small(rule="global", floor=0, budget=Budget(1 - 13.01 / 15, "channels"))
    assert plan.kept["inner"].tolist() == [0, 2, 3]
    assert plan.kept["stem"].tolist() == [0, 1, 2, 3, 4, 5]
    plan = small(rule="global", floor=0, budget=Budget(1 - 11.01 / 15, "channels"))
    assert plan.kept["stem"].tolist() == [0, 1, 2, 5]


def test_the_floor_comes_first():
    plan = small(rule="global", floor=0.4, budget=Budget(0.4, "channels"))  # 9 of 15: ceil(2.4) + ceil(2.0) + 4
    assert plan.widths == {"stem": 3, "inner": 2, "head": 4}


def test_tempered_widths_follow_the_fourth_root_of_the_mean_score():
    _, _, groups, costs = named("vgg19")
    scores = fake_scores(groups)
    plan = allocate(scores, groups, Budget(0.9), costs, rule="tempered", floor=0)
    free = free_groups(groups)
    shares = [plan.widths[g.id] / (g.width * float(scores.by_group[g.id].mean()) ** 0.25) for g in free]
    wide = [share for share, g in zip(shares, free, strict=True) if plan.widths[g.id] not in (1, g.width)]
    assert max(wide) / min(wide) < 1.15


def test_uniform_widths_are_proportional():
    _, _, groups, costs = named("vgg19")
    plan = allocate(None, groups, Budget(0.9, "macs"), costs, rule="uniform")
    shares = [plan.widths[group.id] / group.width for group in free_groups(groups)]
    assert max(shares) - min(shares) <= 1 / 64
    assert plan.kept["features.0"].tolist() == list(range(plan.widths["features.0"]))


def test_protected_groups_stay_whole():
    plan = small(protect=["inner"], budget=Budget(0.3, "channels"), floor=0)
    assert plan.widths == {"stem": 10 - 9, "inner": 5, "head": 4}


def test_groups_narrower_than_the_multiple_stay_whole():
    plan = small(budget=Budget(0.1, "channels"), round_to=3)  # 13 may stay: 6 + 5 rounded down to 3 + 4
    assert plan.widths == {"stem": 6, "inner": 3, "head": 4}
    with pytest.raises(BudgetError, match="in multiples of 8"):
        small(budget=Budget(0.5), round_to=8)


def test_an_impossible_budget_names_the_floor():
    with pytest.raises(BudgetError) as caught:
        small(budget=Budget(0.99), floor=0.5)
    assert re.search(
        r"cannot remove 0.99 of params: the floor \(50% of the channels and at least one of every group; "
        r"1 protected groups whole\) leaves [\d,]+ of 776, a ratio of 0\.\d{4} at most",
        str(caught.value),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "fair"}, "expected a rule .global, .*, got 'fair'"),
        ({"floor": 1.0}, r"expected floor in \[0, 1\), got 1.0"),
        ({"round_to": 0}, "expected round_to >= 1, got 0"),
    ],
)
def test_bad_requests_are_one_sentence(options, message):
    with pytest.raises(UsageError, match=message):
        small(**options)


def test_a_rule_that_needs_scores_says_so():
    _, _, groups, costs = named("resnet20")
    with pytest.raises(UsageError, match="rule tempered needs scores"):
        allocate(None, groups, Budget(0.5), costs, rule="tempered")


def test_the_floor_holds_for_rounded_widths_too():
    _, _, groups, costs = named("resnet20")
    plan = allocate(None, groups, Budget(0.9), costs, rule="uniform", floor=0.18, round_to=4)
    for group, width in sizes(plan):
        assert width >= 0.18 * group.width


@pytest.mark.parametrize("floor", [0.1, 0.2, 0.3, 0.37])
def test_the_ratio_that_a_refusal_names_can_be_met(floor):
    _, _, groups, costs = named("resnet20")
    with pytest.raises(BudgetError) as caught:
        allocate(None, groups, Budget(0.999), costs, rule="uniform", floor=floor)
    named_ratio = float(re.search(r"a ratio of (0\.\d+) at most", str(caught.value)).group(1))
    assert allocate(None, groups, Budget(named_ratio), costs, rule="uniform", floor=floor).achieved >= named_ratio


def test_scores_of_other_groups_are_refused():
    _, _, groups, costs = named("resnet20")
    scores = Scores({"conv1": torch.ones(3, dtype=torch.float64)}, "fake", 1, None)
    with pytest.raises(UsageError, match="expected scores of these groups, got none for the 16 channels of conv1"):
        allocate(scores, groups, Budget(0.5), costs)


# Several limits ------------------------------------------------------------------------------------------------------

LIMITS = ({"params": 0.5, "macs": 0.8}, {"params": 0.9, "macs": 0.3}, {"macs": 0.6, "params": 0.6, "channels": 0.4})


def limited(limits, rule, **options):
    _, _, groups, costs = named("resnet20")
    (of, ratio), *others = limits.items()
    return allocate(fake_scores(groups), groups, Budget(ratio, of, dict(others)), costs, rule=rule, **options)


@pytest.mark.parametrize("rule", ["global", "compute-aware", "uniform"])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_all_limits_are_met_and_one_of_them_binds(limits, rule):
    plan, costs = limited(limits, rule), named("resnet20")[3]
    left = {of: (1 - ratio) * plan.dense.of(of) - plan.slim.of(of) for of, ratio in limits.items()}
    assert all(unused >= -1e-6 for unused in left.values())
    # A further channel costs at most what it costs in the dense model.
    assert any(unused < max(saved.of(of) for saved in costs.marginal_costs) for of, unused in left.items())


@pytest.mark.parametrize("rule", ["global", "tempered"])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_plan_of_several_limits_is_the_narrowest_of_their_plans(limits, rule):
    plan = limited(limits, rule)
    alone = [limited({of: ratio}, rule) for of, ratio in limits.items()]
    for group, width in plan.widths.items():
        assert width == min(other.widths[group] for other in alone)


def test_rounded_plans_meet_all_limits():
    plan = limited({"params": 0.7, "macs": 0.8}, "tempered", round_to=4)
    assert plan.slim.params <= 0.3 * plan.dense.params
    assert plan.slim.macs <= 0.2 * plan.dense.macs
    assert all(width % 4 == 0 for group, width in sizes(plan) if group.protected_reason is None)


def test_a_refusal_names_the_limit_that_cannot_be_met():
    with pytest.raises(BudgetError, match=r"cannot remove 0.999 of macs: the floor .* a ratio of 0\.\d{4} at most"):
        limited({"params": 0.5, "macs": 0.999}, "global")


# On the way to a budget ----------------------------------------------------------------------------------------------

BUDGETS = (Budget(0.9), Budget(0.8, "macs"), Budget(0.3, "channels"), Budget(0.5, "params", {"macs": 0.9}))


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_last_narrowing_is_the_plan(budget, rule):
    _, _, groups, costs = named("resnet20")
    scores = fake_scores(groups)
    goal = schedule_target(groups, budget, costs, rule=rule)
    assert goal.density == 1 - budget.ratio
    stays = goal.narrow(scores.by_group, goal.density)
    plan = allocate(scores, groups, budget, costs, rule=rule)
    assert stays.keys() == scores.by_group.keys()
    for group, chosen in stays.items():
        assert chosen.dtype == torch.bool
        assert chosen.nonzero().flatten().tolist() == plan.kept[group].tolist()


@pytest.mark.parametrize("rule", ["global", "tempered"])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_narrowings_by_the_same_scores_are_nested_and_leave_what_they_should(budget, rule):
    _, _, groups, costs = named("resnet20")
    scores = fake_scores(groups).by_group
    goal = schedule_target(groups, budget, costs, rule=rule)
    before = {group: torch.ones(len(values), dtype=torch.bool) for group, values in scores.items()}
    for share in exponential(goal.density, 5):
        stays = goal.narrow(scores, share)
        assert all((chosen <= before[group]).all() for group, chosen in stays.items())
        widths = np.array([int(stays[g.id].sum()) if g.id in stays else g.width for g in groups])
        assert costs.cost(widths).of(budget.of) <= share * costs.dense.of(budget.of) + 1e-6
        before = stays


def test_narrowing_by_hand():
    """15 channels, 4 protected, 7 to stay: half way the square root of 7 / 15 stays, that is 10."""
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE)
    density = 7.01 / 15
    goal = schedule_target(groups, Budget(1 - density, "channels"), CostModel.of(model, groups, EXAMPLE), floor=0)
    scores = {"stem": torch.tensor([0.5, 0.1, 0.4, 0.1, 0.1, 0.2]), "inner": torch.tensor([0.9, 0.0, 0.3, 0.35, 0.1])}
    stays = goal.narrow(scores, density**0.5)
    assert int(15 * density**0.5) == 10
    assert stays["stem"].nonzero().flatten().tolist() == [0, 2, 5]
    assert stays["inner"].nonzero().flatten().tolist() == [0, 2, 3]
    assert [int(chosen.sum()) for chosen in goal.narrow(scores, density).values()] == [2, 1]


def test_impossible_targets_are_refused_at_once():
    _, _, groups, costs = named("resnet20")
    with pytest.raises(BudgetError, match=r"cannot remove 0\.999 of params"):
        schedule_target(groups, Budget(0.999), costs)
    with pytest.raises(UsageError, match="got 'fair'"):
        schedule_target(groups, Budget(0.5), costs, rule="fair")
    with pytest.raises(UsageError, match="expected floor"):
        schedule_target(groups, Budget(0.5), costs, floor=1)
