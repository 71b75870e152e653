from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from slimprune.budget import RULES, Budget, CostModel, allocate, find_rule, profile
from slimprune.budget.rules import GroupCost, channel_priorities, group_costs
from slimprune.errors import UsageError
from slimprune.graph import find_groups
from slimprune.saliency import Scores
from tests.networks import EXAMPLE, Residual, toy

SCORES = Scores(
    {
        "0": torch.tensor([0.1, 0.4, 0.2, 0.1], dtype=torch.float64),
        "3": torch.tensor([0.0001, 0.1999], dtype=torch.float64),
    },
    "fake",
    1,
    None,
)
PROFILES = ("profile:score=0,reuse=0", "profile:score=0.25,reuse=0", "profile:score=.5,reuse=1")


def convs():
    """Images 8x8 to four channels with a norm, to two channels at half the size, to three: groups 0, 3 and 5."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 2, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(2, 3, 1),
    )  # fmt: skip
    groups = find_groups(model, EXAMPLE)
    return groups, CostModel.of(model, groups, EXAMPLE)


def priorities(name, scores=SCORES):
    return channel_priorities(find_rule(name), *convs(), scores)


def test_what_is_at_stake_by_hand():
    first, second, _ = group_costs(*convs(), SCORES)
    # A channel: its own filter at every position, and its column in the next layer.
    assert first.macs == 3 * 9 * 8 * 8 + 2 * 9 * 4 * 4
    assert first.params == (3 * 9 + 1) + 2 + 2 * 9
    assert second.macs == 4 * 9 * 4 * 4 + 3 * 4 * 4
    assert second.params == (4 * 9 + 1) + 3
    assert first.reuse == (3 * 9 * 64 + 2 * 9 * 16) / (3 * 9 + 1 + 2 + 2 * 9)
    assert (first.width, second.width) == (4, 2)
    assert (first.producers, second.producers) == ([(4, 3, 3, 3)], [(2, 4, 3, 3)])
    assert first.scores.tolist() == [0.1, 0.4, 0.2, 0.1]


def test_without_scores_they_are_ones():
    assert [cost.scores.tolist() for cost in group_costs(*convs(), None)] == [[1] * 4, [1] * 2, [1] * 3]


@pytest.mark.parametrize("name", [*RULES, *PROFILES])
def test_priorities_fall_and_skip_protected_groups(name):
    ranks = priorities(name)
    assert [len(rank) for rank in ranks] == [4, 2, 0]
    assert all((np.diff(rank) <= 0).all() for rank in ranks)
    assert all((rank > 0).all() for rank in ranks)


def test_global_priorities_are_the_scores():
    first, second, _ = priorities("global")
    assert first.tolist() == [0.4, 0.2, 0.1, 0.1]
    assert second.tolist() == [0.1999, 0.0001]


def test_compute_aware_priorities_are_the_scores_per_mac_that_a_removal_saves():
    first, second, _ = priorities("compute-aware")
    saved = 3 * 9 * 64 + 2 * 9 * 16, 4 * 9 * 16 + 3 * 16
    assert first == pytest.approx([0.4 / saved[0], 0.2 / saved[0], 0.1 / saved[0], 0.1 / saved[0]], rel=1e-12)
    assert second == pytest.approx([0.1999 / saved[1], 0.0001 / saved[1]], rel=1e-12)


def test_proportional_priorities_grant_the_rounded_share():
    """At level s a group has the channels with share / (k + 1/2) >= 1 / s: round(s * share) of them."""
    first, second, _ = priorities("uniform", None)
    for level in (0.3, 0.5, 0.7, 0.9):
        assert [(rank >= 1 / level).sum() for rank in (first, second)] == [int(4 * level + 0.5), int(2 * level + 0.5)]


def test_tempered_shares():
    first, second, _ = priorities("tempered")
    assert first[0] / second[0] == pytest.approx((4 * 0.2**0.25) / (2 * 0.1**0.25))


def test_erdos_renyi_kernel_shares():
    """Root of the density (in + out + height + width) / (in * out * height * width), Evci et al."""
    first, second, _ = priorities("erk", None)
    densities = (3 + 4 + 3 + 3) / (3 * 4 * 3 * 3), (4 + 2 + 3 + 3) / (4 * 2 * 3 * 3)
    assert first[0] / second[0] == pytest.approx((4 * densities[0] ** 0.5) / (2 * densities[1] ** 0.5))


def test_erdos_renyi_kernel_densities_are_those_of_the_weights():
    """A layer of 80 by 80 kernels of 3x3: density c * 166/57600 of its weights, so sqrt of that of its channels."""
    layer = GroupCost(scores=np.ones(80), params=1, macs=1, producers=[(80, 80, 3, 3)])
    wider = GroupCost(scores=np.ones(320), params=1, macs=1, producers=[(320, 320, 3, 3)])
    rule = find_rule("erk")
    counts = [int((rule.priorities(cost) >= 1 / 9).sum()) for cost in (layer, wider)]
    # level 9: shares 9 * sqrt(166 / 57600) = 0.483 and 9 * sqrt(646 / 921600) = 0.238
    assert counts == [round(80 * 0.48316), round(320 * 0.23828)] == [39, 76]
    densities = (39 / 80) ** 2, (76 / 320) ** 2
    assert densities[0] / densities[1] == pytest.approx((166 / 57600) / (646 / 921600), rel=0.03)


def test_erdos_renyi_kernel_shares_of_a_sum_count_all_layers_that_make_it():
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE)
    stem, inner, _ = channel_priorities(find_rule("erk"), groups, CostModel.of(model, groups, EXAMPLE), None)
    extents, weights = (3 + 6 + 3 + 3) + (5 + 6 + 3 + 3), 3 * 6 * 9 + 5 * 6 * 9
    share, other = (extents / weights) ** 0.5, ((6 + 5 + 3 + 3) / (6 * 5 * 9)) ** 0.5
    assert stem[0] / inner[0] == pytest.approx((6 * share) / (5 * other))


def test_erdos_renyi_kernel_widths():
    """Levels at which the channels are granted: the third channel of 0 comes before the second of 3."""
    groups, costs = convs()
    plan = allocate(None, groups, Budget(1 - 7.01 / 9, "channels"), costs, rule="erk", floor=0)
    # 4 * sqrt(13/108) = 1.388 / (0.5, 1.5, 2.5, 3.5) = 2.776, 0.925, 0.555, 0.397 against
    # 2 * sqrt(12/72) = 0.816 / (0.5, 1.5) = 1.633, 0.544: three channels of 0 before the second of 3.
    assert plan.widths == {"0": 3, "3": 1, "5": 3}


def test_rules_with_a_name_of_their_own_are_profiles():
    named = {
        "profile:score=0,reuse=0": "uniform",
        "profile:score=0.25,reuse=0": "tempered",
        "profile:score=0,reuse=0.15": "early",
    }
    for name, same in named.items():
        for rank, expected in zip(priorities(name), priorities(same), strict=True):
            assert rank.tolist() == expected.tolist()
        assert find_rule(name).needs_scores == find_rule(same).needs_scores


def test_profile_shares():
    first, second, _ = priorities("profile:score=0.5,reuse=0.25")
    reuse = 2016 / 48, 624 / 40
    assert (3 * 9 * 64 + 2 * 9 * 16, 3 * 9 + 1 + 2 + 2 * 9) == (2016, 48)
    assert (4 * 9 * 16 + 3 * 16, 4 * 9 + 1 + 3) == (624, 40)
    expected = (4 * 0.2**0.5 * reuse[0] ** 0.25) / (2 * 0.1**0.5 * reuse[1] ** 0.25)
    assert first[0] / second[0] == pytest.approx(expected)


def test_reuse_favours_early_layers():
    shares = []
    for reuse in (0, 0.5, 1):
        first, second, _ = priorities(f"profile:score=0,reuse={reuse}", None)
        shares.append(first[0] / second[0])
    assert shares[0] < shares[1] < shares[2]


def test_the_name_of_a_profile_finds_it_again():
    rule = profile(0.25, 0.1)
    assert rule.name == "profile:score=0.25,reuse=0.1"
    found = find_rule(rule.name)
    assert (found.name, found.description, found.needs_scores) == (rule.name, rule.description, True)
    assert rule.description == "widths in proportion to dense width * (mean score) ** 0.25 * (uses of a weight) ** 0.1"


@pytest.mark.parametrize(
    "name",
    [
        "fair",
        "",
        "Global",
        "profile",
        "profile:",
        "profile:score=1",
        "profile:reuse=0,score=0",
        "profile:score=--1,reuse=0",
        "profile:score=x,reuse=0",
        "profile:score=0,reuse=0,floor=1",
        "profile:score=0, reuse=0",
        "profile:score=.,reuse=0",
        "profile:score=nan,reuse=0",
    ],
)
def test_unknown_rules_are_refused(name):
    with pytest.raises(UsageError) as caught:
        find_rule(name)
    known = ", ".join(RULES)
    code = "file.py:NAME or package.module:NAME"
    expected = f"expected a rule ({known}, profile:score=X,reuse=Y, factors:A,B,..., {code}), got {name!r}"
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("profile:score=5,reuse=0", "expected score of a profile in [0, 4], got 5"),
        ("profile:score=-0.5,reuse=0", "expected score of a profile in [0, 4], got -0.5"),
        ("profile:score=0,reuse=1000", "expected reuse of a profile in [-4, 4], got 1000"),
        ("profile:score=0,reuse=-4.5", "expected reuse of a profile in [-4, 4], got -4.5"),
    ],
)
def test_exponents_that_no_network_can_bear_are_refused(name, message):
    with pytest.raises(UsageError) as caught:
        find_rule(name)
    assert str(caught.value) == message


def test_a_negative_reuse_favours_late_layers():
    first, second, _ = priorities("profile:score=0,reuse=-.5", None)
    assert first[0] / second[0] == pytest.approx((4 * (2016 / 48) ** -0.5) / (2 * (624 / 40) ** -0.5))


def test_zero_has_no_sign_in_the_name_of_a_profile():
    assert find_rule("profile:score=-0,reuse=-0.0").name == "profile:score=0,reuse=0"


def test_scores_without_ratios_become_ranks():
    """Ranks of 0.1, 0.4, 0.2, 0.1 and 0.0001, 0.1999 among six: 2.5, 6, 5, 2.5 and 1, 4, as sixths."""
    ordered = replace(SCORES, ratios=False)
    first, second, _ = group_costs(*convs(), ordered)
    assert (first.scores * 6).tolist() == pytest.approx([2.5, 6, 5, 2.5])
    assert (second.scores * 6).tolist() == pytest.approx([1, 4])
    shares = [rank[0] for rank in priorities("tempered", ordered)[:2]]
    assert shares[0] / shares[1] == pytest.approx((4 * (16 / 24) ** 0.25) / (2 * (5 / 12) ** 0.25))


@pytest.mark.parametrize("rule", ["tempered", "compute-aware", "global"])
def test_what_only_has_an_order_may_be_shifted(rule):
    """As min-shifted GraSP: one low outlier makes all other scores alike, which used to give uniform widths."""
    shifted = {group: values + 1000 for group, values in SCORES.by_group.items()}
    one, other = (
        priorities(rule, Scores(values, "fake", 1, None, ratios=False)) for values in (SCORES.by_group, shifted)
    )
    assert [rank.tolist() for rank in one] == [rank.tolist() for rank in other]
    spread = one[0][0] / one[1][0], priorities("uniform")[0][0] / priorities("uniform")[1][0]
    assert spread[0] != pytest.approx(spread[1])
