import numpy as np
import pytest
import torch

from slimprune.budget import RULES, find_rule
from slimprune.budget.rules import channel_priorities
from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup
from slimprune.saliency import Scores

GROUPS = [ChannelGroup("a", 4, ()), ChannelGroup("b", 2, ()), ChannelGroup("out", 3, (), "model output")]
SCORES = Scores(
    {
        "a": torch.tensor([0.1, 0.4, 0.2, 0.1], dtype=torch.float64),
        "b": torch.tensor([0.0001, 0.1999], dtype=torch.float64),
    },
    "fake",
    1,
    None,
)


@pytest.mark.parametrize("name", RULES)
def test_priorities_fall_and_skip_protected_groups(name):
    ranks = channel_priorities(find_rule(name), GROUPS, SCORES)
    assert [len(rank) for rank in ranks] == [4, 2, 0]
    assert all((np.diff(rank) <= 0).all() for rank in ranks)


def test_global_priorities_are_the_scores():
    first, second, _ = channel_priorities(find_rule("global"), GROUPS, SCORES)
    assert first.tolist() == [0.4, 0.2, 0.1, 0.1]
    assert second.tolist() == [0.1999, 0.0001]


def test_proportional_priorities_grant_the_rounded_share():
    """At level s a group has the channels with share / (k + 1/2) >= 1 / s: round(s * share) of them."""
    first, second, _ = channel_priorities(find_rule("uniform"), GROUPS, None)
    for level in (0.3, 0.5, 0.7, 0.9):
        assert [(rank >= 1 / level).sum() for rank in (first, second)] == [int(4 * level + 0.5), int(2 * level + 0.5)]


def test_tempered_shares():
    first, second, _ = channel_priorities(find_rule("tempered"), GROUPS, SCORES)
    assert first[0] / second[0] == pytest.approx((4 * 0.2**0.25) / (2 * 0.1**0.25))


def test_unknown_rules_are_refused():
    with pytest.raises(UsageError, match="got 'fair'"):
        find_rule("fair")
