import pytest
import torch

from slimprune.budget import CONTROLS, Budget, CostModel, allocate, control_plan
from slimprune.errors import UsageError
from slimprune.graph import find_groups, keep_channels
from slimprune.measure import count_params
from slimprune.saliency import Scores
from tests.networks import EXAMPLE, Residual, toy

SCORES = Scores(
    {
        "stem": torch.tensor([0.5, 0.1, 0.4, 0.3, 0.6, 0.2], dtype=torch.float64),
        "inner": torch.tensor([0.9, 0.05, 0.8, 0.7, 0.15], dtype=torch.float64),
    },
    "fake",
    1,
    None,
)


def planned(ratio=0.5, scores=SCORES, protect=()):
    """15 channels, the 4 of the head protected."""
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE, protect=protect)
    costs = CostModel.of(model, groups, EXAMPLE)
    return model, allocate(scores, groups, Budget(ratio, "channels"), costs, rule="uniform", floor=0)


def kept(plan):
    return {group: channels.tolist() for group, channels in plan.kept.items()}


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6])
def test_a_twin_has_the_widths_and_the_cost_of_its_plan(kind, ratio):
    model, plan = planned(ratio)
    found = control_plan(plan, kind, SCORES, seed=3)
    assert found.widths == plan.widths
    assert (found.slim, found.budget, found.rule) == (plan.slim, plan.budget, plan.rule)
    assert count_params(keep_channels(model, found.groups, found.kept)) == plan.slim.params
    for channels in kept(found).values():
        assert channels == sorted(set(channels))


@pytest.mark.parametrize("kind", CONTROLS)
def test_protected_groups_stay_whole(kind):
    _, plan = planned(0.2, protect=["inner"])
    found = kept(control_plan(plan, kind, Scores({"stem": SCORES.by_group["stem"]}, "fake", 1, None)))
    assert (found["inner"], found["head"]) == ([0, 1, 2, 3, 4], [0, 1, 2, 3])


def test_the_inverted_twin_takes_the_lowest_scores():
    """7 of 15 channels: 4 of the head, then of 6 and 5 two and one."""
    _, plan = planned()
    assert kept(plan) == {"stem": [0, 4], "inner": [0], "head": [0, 1, 2, 3]}
    assert kept(control_plan(plan, "invert", SCORES)) == {"stem": [1, 5], "inner": [1], "head": [0, 1, 2, 3]}


def test_a_shuffled_twin_follows_its_seed_alone():
    _, plan = planned(0.3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = kept(control_plan(plan, "shuffle", SCORES, seed=5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(9)
    assert kept(control_plan(plan, "shuffle", None, seed=5)) == first
    others = [kept(control_plan(plan, "shuffle", SCORES, seed=seed)) for seed in range(10)]
    assert len({str(other) for other in others}) > 5


def test_the_plan_is_left_as_it_was():
    _, plan = planned()
    text = plan.to_json()
    control_plan(plan, "shuffle", None)
    control_plan(plan, "invert", SCORES)
    assert plan.to_json() == text


def test_refusals():
    _, plan = planned()
    with pytest.raises(UsageError, match=r"expected a twin .shuffle, invert., got 'reinit'"):
        control_plan(plan, "reinit", SCORES)
    with pytest.raises(UsageError, match="expected scores to find the worst channels by, got a plan without scores"):
        control_plan(plan, "invert", None)
