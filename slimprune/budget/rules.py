"""Allocation rules: in what order channels are granted to the groups.

A rule gives every group a falling sequence of priorities, one for its first, second, ... channel. `allocate` grants
channels in the order of priority as long as the budget lasts, so a tighter budget always gives a smaller model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup
from slimprune.saliency import Scores

Priorities = NDArray[np.float64]
TEMPER = 0.25


@dataclass(frozen=True)
class Rule:
    """One allocation rule; `priorities` gives falling values [width] for a group's channels."""

    name: str
    description: str
    needs_scores: bool
    priorities: Callable[[ChannelGroup, Priorities], Priorities]


def _ranked(group: ChannelGroup, scores: Priorities) -> Priorities:
    return np.sort(scores)[::-1]


def _tempered(group: ChannelGroup, scores: Priorities) -> Priorities:
    return _proportional(group.width, group.width * float(scores.mean()) ** TEMPER)


def _uniform(group: ChannelGroup, scores: Priorities) -> Priorities:
    return _proportional(group.width, group.width)


def _proportional(width: int, share: float) -> Priorities:
    """Grants that keep a group at round(level * share) channels while the level rises."""
    return np.asarray(share / (np.arange(width) + 0.5), np.float64)


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("global", "one threshold over the scores of all channels (the ProsPr paper)", True, _ranked),
        Rule("tempered", "widths in proportion to dense width * (mean score) ** 1/4", True, _tempered),
        Rule("uniform", "widths in proportion to dense width; needs no scores", False, _uniform),
    )
}


def find_rule(name: str) -> Rule:
    """The rule called `name`.

    Raises:
        UsageError: no such rule.
    """
    if name not in RULES:
        raise UsageError(f"expected a rule ({', '.join(RULES)}), got {name!r}")
    return RULES[name]


def channel_priorities(rule: Rule, groups: Sequence[ChannelGroup], scores: Scores | None) -> list[Priorities]:
    """Priorities of the channels of every group, protected groups empty."""
    result = []
    for group in groups:
        if group.protected_reason is not None:
            result.append(np.empty(0))
        else:
            values = np.ones(group.width) if scores is None else scores.by_group[group.id].numpy()
            result.append(rule.priorities(group, values))
    return result
