"""Allocation rules: how a budget is divided among the groups.

A rule gives every group a decreasing sequence of priorities, one for its first, second, ... channel. `allocate` grants
channels in the order of priority as long as the budget lasts, so that a tighter budget always gives a smaller model.
`recipe/defaults.py` sets the default rule of each budget, `pipeline/search.py` the rules that a search tries.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimprune.budget.cost import Costs
from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup
from slimprune.registry import Registry, description_of, kind_of
from slimprune.saliency import Scores, ranks

Priorities = NDArray[np.float64]
TEMPER = 0.25
EARLINESS = 0.15
"""Compromise between uniform widths and steep profiles, which leave late layers almost nothing; see docs/results.md."""
STEEPEST = 4.0
"""The largest exponent of a profile; with larger ones a single group would get everything long before the others.

That of `reuse` may be negative, down to -STEEPEST, for wide late layers. That of `score` may not: the group with the
lowest scores would be the widest.
"""


@dataclass(frozen=True, eq=False)
class GroupCost:
    """What a rule knows about one group.

    Attributes:
        scores: Scores of the channels, [width]; ones for rules without scores, and ranks as shares in (0, 1] where
            ratios of scores mean nothing.
        params: Parameters that belong to one channel of the dense model, in the group's own layers and in its
            consumers.
        macs: Multiply-accumulates that belong to one channel.
        producers: Dense shapes of the weights that produce the channels.
        number: Number of the group among the free ones, from 0; None for a protected group.
    """

    scores: Priorities
    params: float
    macs: float
    producers: Sequence[Sequence[int]]
    number: int | None = None

    @property
    def width(self) -> int:
        """Number of channels of the dense group."""
        return len(self.scores)

    @property
    def reuse(self) -> float:
        """Number of applications for one sample of a weight counted in `params`; high if feature maps are large."""
        return self.macs / max(1.0, self.params)


@dataclass(frozen=True)
class Rule:
    """An allocation rule; `priorities` returns decreasing values [width] for a group's channels.

    `free_groups` is the number of free groups of the networks that it is for; None for any number.
    """

    name: str
    description: str
    needs_scores: bool
    priorities: Callable[[GroupCost], Priorities]
    free_groups: int | None = None


GivesPriorities = TypeVar("GivesPriorities", bound=Callable[[GroupCost], Priorities])
PROFILE = "profile:score=X,reuse=Y"
_NUMBER = r"-?\d*\.?\d+"
FACTORS = "factors:A,B,..."


def _ranked(cost: GroupCost) -> Priorities:
    return np.sort(cost.scores)[::-1]


def _compute_aware(cost: GroupCost) -> Priorities:
    return _ranked(cost) / max(1.0, cost.macs)


def _profiled(cost: GroupCost, score: float, reuse: float) -> Priorities:
    return _proportional(cost.width, float(cost.scores.mean()) ** score * cost.reuse**reuse)


def _erdos_renyi(cost: GroupCost) -> Priorities:
    """Return priorities for widths that give the weights Erdos-Renyi-Kernel densities.

    A share of the output channels and the same share of the input channels leave its square of the weights, so the
    share of channels is the square root of the density.
    """
    extents = sum(sum(shape) for shape in cost.producers)
    weights = sum(math.prod(shape) for shape in cost.producers)
    return _proportional(cost.width, math.sqrt(extents / max(1, weights)))


def _proportional(width: int, factor: float) -> Priorities:
    """Return priorities that keep a group at round(level * width * factor) channels while the level rises."""
    return np.asarray(width * factor / (np.arange(width) + 0.5), np.float64)


def register(name: str, description: str, *, needs_scores: bool = True) -> Callable[[GivesPriorities], GivesPriorities]:
    """Register the decorated function, which returns the priorities of a group's channels, as the rule `name`.

    Args:
        name: A name that is not taken.
        description: One-line description for users.
        needs_scores: Whether the function uses `GroupCost.scores`; otherwise nothing needs to be scored.

    Raises:
        UsageError: If the name is taken.
    """

    def add(priorities: GivesPriorities) -> GivesPriorities:
        rule = Rule(name, description, needs_scores, priorities)
        RULES.add(name, description, rule, module=priorities.__module__)
        return priorities

    return add


def _as_rule(name: str, found: object) -> Rule:
    """Return a rule from an object of an entry point or of user code: a rule, or a function that may use scores."""
    if isinstance(found, Rule):
        return replace(found, name=name)
    if isinstance(found, type) or not callable(found):
        raise UsageError(f"expected rule {name} to be a function or a Rule, got {kind_of(found)}")
    return Rule(name, description_of(found), needs_scores=True, priorities=found)


RULES: Registry[Rule] = Registry("a rule", "slimprune.rules", "a rule", _as_rule, others=(PROFILE, FACTORS))

for _rule in (
    Rule("global", "one threshold over the scores of all channels (the ProsPr paper)", True, _ranked),
    Rule(
        "compute-aware",
        "one threshold over scores divided by the MACs that a channel's removal saves (the 3SP paper)",
        True,
        _compute_aware,
    ),
    Rule(
        "tempered",
        "widths in proportion to dense width * (mean score) ** 1/4",
        True,
        partial(_profiled, score=TEMPER, reuse=0.0),
    ),
    Rule(
        "early",
        "widths in proportion to dense width * (uses of a weight) ** 0.15; needs no scores",
        False,
        partial(_profiled, score=0.0, reuse=EARLINESS),
    ),
    Rule(
        "uniform",
        "widths in proportion to dense width; needs no scores",
        False,
        partial(_profiled, score=0.0, reuse=0.0),
    ),
    Rule(
        "erk",
        "widths whose weights have about Erdos-Renyi-Kernel densities; needs no scores (Evci et al., 2020)",
        False,
        _erdos_renyi,
    ),
):
    RULES.add(_rule.name, _rule.description, _rule, module=__name__)


def find_rule(name: str) -> Rule:
    """Return the rule called `name`, or the object at `file.py:rule` or `package.module:rule` as a rule.

    Raises:
        UsageError: If there is no such rule, its code fails, or the exponents of a profile are out of range.
    """
    if name.startswith("factors:"):
        return _find_factors(name)
    if not name.startswith("profile:"):
        return RULES.find(name)
    chosen = re.fullmatch(rf"profile:score=({_NUMBER}),reuse=({_NUMBER})", name)
    if chosen is None:
        raise RULES.unknown(name)
    return profile(float(chosen[1]), float(chosen[2]))


def profile(score: float, reuse: float) -> Rule:
    """Return a rule for widths proportional to dense width * (mean score) ** score * (uses of a weight) ** reuse.

    The uses of a weight are its applications for one sample. Both exponents 0 give uniform widths. A positive `reuse`
    favours the early layers, which have few weights and large feature maps, a negative one the late layers.

    Raises:
        UsageError: If `score` is outside [0, 4] or `reuse` outside [-4, 4].
    """
    for name, exponent, least in (("score", score, 0.0), ("reuse", reuse, -STEEPEST)):
        if not least <= exponent <= STEEPEST:
            raise UsageError(f"expected {name} of a profile in [{least:g}, {STEEPEST:g}], got {exponent:g}")
    score, reuse = score + 0.0, reuse + 0.0  # no -0
    name = f"profile:score={score:g},reuse={reuse:g}"
    description = f"widths in proportion to dense width * (mean score) ** {score:g} * (uses of a weight) ** {reuse:g}"
    return Rule(name, description, score > 0, partial(_profiled, score=score, reuse=reuse))


def factors(values: Sequence[float]) -> Rule:
    """Return a rule for widths proportional to dense width * a factor given for each free group, in their order.

    Raises:
        UsageError: If a factor is not a finite number above 0.
    """
    for value in values:
        if not 0 < value < math.inf:
            raise UsageError(f"expected finite factors above 0, got {value:g}")
    name = f"factors:{','.join(f'{value:.4g}' for value in values)}"
    description = "widths in proportion to dense width * a given factor"
    return Rule(name, description, False, partial(_scaled, values), len(values))


def _find_factors(name: str) -> Rule:
    try:
        values = [float(text) for text in name.removeprefix("factors:").split(",")]
    except ValueError as error:
        raise RULES.unknown(name) from error
    return factors(values)


def _scaled(values: Sequence[float], cost: GroupCost) -> Priorities:
    if cost.number is None:
        return np.ones(cost.width)
    return _proportional(cost.width, values[cost.number])


def channel_priorities(
    rule: Rule, groups: Sequence[ChannelGroup], costs: Costs, scores: Scores | None
) -> list[Priorities]:
    """Return the priorities of the channels of every group, empty for protected groups.

    Raises:
        UsageError: If the rule does not give a group decreasing numbers [width], or is for another number of groups.
    """
    free = sum(group.protected_reason is None for group in groups)
    if rule.free_groups not in (None, free):
        raise UsageError(f"expected a factor for each of {free} free groups, got {rule.free_groups}")
    return [
        _checked(rule, group, rule.priorities(cost)) if group.protected_reason is None else np.empty(0)
        for group, cost in zip(groups, group_costs(groups, costs, scores), strict=True)
    ]


def _checked(rule: Rule, group: ChannelGroup, found: object) -> Priorities:
    try:
        priorities = np.asarray(found, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected rule {rule.name} to give numbers, got {type(found).__name__}") from error
    if priorities.shape != (group.width,):
        where = f"for the {group.width} channels of {group.id}"
        raise UsageError(f"expected rule {rule.name} to give one priority each {where}, got {priorities.shape}")
    if not bool((priorities[1:] <= priorities[:-1]).all()) or bool(np.isnan(priorities).any()):
        raise UsageError(f"expected rule {rule.name} to give falling priorities, got others for {group.id}")
    return priorities


def group_costs(groups: Sequence[ChannelGroup], costs: Costs, scores: Scores | None) -> list[GroupCost]:
    """Return what the rules know about every group; scores of which only the order means something become ranks."""
    found, numbers = [], count()
    by_group = {} if scores is None else scores.by_group if scores.ratios else _as_ranks(scores.by_group)
    for group, saved in zip(groups, costs.marginal_costs, strict=True):
        values = by_group.get(group.id)
        shapes = [costs.shapes.get(slot.name, ()) for slot in group.slots_of("producer", "depthwise")]
        found.append(
            GroupCost(
                scores=np.ones(group.width) if values is None else values.numpy(),
                params=saved.params,
                macs=saved.macs,
                producers=[shape for shape in shapes if len(shape) > 1],
                number=next(numbers) if group.protected_reason is None else None,
            )
        )
    return found


def _as_ranks(by_group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the ranks of all scores as shares of their number, in (0, 1]."""
    every = torch.cat(list(by_group.values()))
    shares = ranks(every) / len(every)
    return dict(zip(by_group, shares.split([len(values) for values in by_group.values()]), strict=True))
