"""Allocation: from scores and a budget to a plan."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from slimprune.budget.coarse_units import UNUSED, around_unit, is_coarse, last
from slimprune.budget.cost import Cost, Costs
from slimprune.budget.limits import Limits
from slimprune.budget.obstacles import largest_obstacle, most_removed
from slimprune.budget.plan import Budget, Plan
from slimprune.budget.rules import Priorities, channel_priorities, find_rule
from slimprune.errors import BudgetError, UsageError
from slimprune.graph import ChannelGroup, free_groups
from slimprune.graph.groups import Integers
from slimprune.saliency import Scores, Target

DEFAULT_FLOOR = 0.05
LATENCY: Literal["latency"] = "latency"

REACH = 1.125
"""How many times the channels of a plan another may have and still be faster, because its widths suit kernels."""

BLOCKS = (4, 8, 16, 32)
"""Numbers of channels of which kernels prefer multiples."""

_TRIES = 32


def allocate(
    scores: Scores | None,
    groups: Sequence[ChannelGroup],
    budget: Budget,
    costs: Costs,
    *,
    rule: str = "global",
    floor: float = DEFAULT_FLOOR,
    round_to: int = 1,
) -> Plan:
    """Return the widest plan that the rule grants within the budget.

    Channels are granted one by one in the order of the rule's priorities, on top of the floor. The plan is the longest
    such sequence whose cost (after rounding each width to the nearest multiple of `round_to`) fits: a tighter budget
    never gives a wider layer. In each group the channels with the best scores stay. Among equal priorities the earlier
    group comes first, among equal scores the lower channel.

    A unit of several channels (of a grouped convolution, say) may not fit although more than `UNUSED` of the network
    could still be kept. The plan is then the larger of two: others are granted without that unit, or some are taken
    back for it (see `coarse_units`). There a tighter budget may give a wider layer.

    Latency is not monotone in the widths. Among some sequences with up to `REACH` times the channels of the one found
    by bisection, the longest that fits is taken. Then each group in turn, in the same order, is widened as far as this
    takes no more time, up to the next block of `BLOCKS`, or otherwise by the smallest step that fits.

    Args:
        scores: Saliency by group; None for rules without scores, which keep the first channels.
        groups: All groups of the model.
        budget: What to remove.
        costs: Cost model of the same groups.
        rule: Name of the allocation rule.
        floor: Minimum share of its channels that every group keeps, in [0, 1), and never less than one channel.
        round_to: Widths become multiples of this, at least one multiple; a narrower group keeps all its channels.

    Returns:
        The plan.

    Raises:
        BudgetError: If the floor alone exceeds the budget.
        UsageError: If the rule is unknown, floor or round_to is out of range, or a rule that needs scores gets none.
    """
    chosen = find_rule(rule)
    if chosen.needs_scores and scores is None:
        raise UsageError(f"rule {rule} needs scores")
    for group in free_groups(groups):
        if scores is not None and len(scores.by_group.get(group.id, ())) != group.width:
            raise UsageError(f"expected scores of these groups, got none for the {group.width} channels of {group.id}")
    limits = Limits.of(groups, floor, round_to)
    order = _allocation_order(channel_priorities(chosen, groups, costs, scores), limits.low)
    dense = costs.dense

    def fits(widths: Integers) -> bool:
        return budget.allows(costs.cost(widths), dense)

    def granted(grants: Integers) -> Integers:
        return limits.rounded(limits.low + np.bincount(grants, minlength=len(groups)))

    def widths(count: int) -> Integers:
        return granted(order[:count])

    _check_floor(costs.cost(widths(0)), groups, budget, costs, floor, round_to)
    count = last(len(order), lambda count: fits(widths(count)))
    final = widths(count)
    if LATENCY in budget.ratios:
        longest = last(len(order), lambda longer: widths(longer).sum() <= REACH * widths(count).sum())
        count = next((longer for longer in _between(count, longest) if fits(widths(longer))), count)
        final = _filled(widths(count), limits, list(dict.fromkeys(order[count:].tolist())), costs, fits)
    elif count < len(order) and is_coarse(groups[order[count]]) and _unused(budget, costs.cost(final), dense) > UNUSED:
        tried = [granted(grants) for grants in around_unit(order, count, lambda grants: fits(granted(grants)))]
        final = max(tried, key=lambda found: costs.cost(found).of(budget.of))
    kept = {group.id: _best(group, int(width), scores) for group, width in zip(groups, final, strict=True)}
    return Plan(tuple(groups), kept, budget, rule, dense, costs.cost(final))


def schedule_target(
    groups: Sequence[ChannelGroup],
    budget: Budget,
    costs: Costs,
    *,
    rule: str = "global",
    floor: float = DEFAULT_FLOOR,
    round_to: int = 1,
) -> Target:
    """Return the target of iterative criteria: in each round, what `allocate` leaves of an ever tighter budget.

    In the intermediate rounds the same share of MACs replaces a share of latency.

    Args:
        groups: All groups of the model.
        budget: The last of the budgets.
        costs: Cost model of the same groups.
        rule: Name of the allocation rule.
        floor: See `allocate`.
        round_to: See `allocate`; applies to the last budget only, widths of the intermediate rounds are not rounded.

    Raises:
        BudgetError: If the floor alone exceeds the budget.
        UsageError: If the rule is unknown, or floor or round_to is out of range.
    """
    density, counted = 1 - budget.ratio, budget.counted()

    def narrow(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        tighter = counted.on_the_way(math.log(share) / math.log(density))
        found = {group: values.detach().cpu().double() for group, values in scores.items()}
        plan = allocate(Scores(found, "", 1, None), groups, tighter, costs, rule=rule, floor=floor)
        return {group: torch.isin(torch.arange(len(values)), plan.kept[group]) for group, values in found.items()}

    find_rule(rule)
    allocate(None, groups, budget, costs, rule="uniform", floor=floor, round_to=round_to)
    return Target(density, narrow)


def _unused(budget: Budget, found: Cost, dense: Cost) -> float:
    """Return the share of the dense network that the plan could still keep within all limits."""
    return min((budget.allowed(of, dense) - found.of(of)) / dense.of(of) for of in budget.ratios)


def _check_floor(
    least: Cost, groups: Sequence[ChannelGroup], budget: Budget, costs: Costs, floor: float, round_to: int
) -> None:
    dense = costs.dense
    for of, ratio in budget.ratios.items():
        if least.of(of) > budget.allowed(of, dense):
            obstacle = largest_obstacle(groups, costs, of, floor=floor, round_to=round_to)
            raise BudgetError(
                f"cannot remove {ratio:.4g} of {of}: the floor ({_describe(groups, floor, round_to)}) leaves "
                f"{least.of(of):,} of {dense.of(of):,}{' ns' if of == LATENCY else ''}, a ratio of "
                f"{most_removed(least.of(of), dense.of(of)):.4f} at most{'' if obstacle is None else f'; {obstacle}'}"
            )


def _allocation_order(ranks: Sequence[Priorities], low: Integers) -> Integers:
    """Return the group index of every channel above the floor, in the order in which the channels are granted."""
    above = [rank[least:] for rank, least in zip(ranks, low, strict=True)]
    owners = np.repeat(np.arange(len(above)), [len(rank) for rank in above])
    order = np.argsort(-np.concatenate([*above, np.empty(0)]), kind="stable")
    granted: Integers = owners[order]
    return granted


def _between(count: int, longest: int) -> list[int]:
    """Return some lengths above `count`, evenly spaced, the longest first."""
    lengths = np.linspace(longest, count, _TRIES, endpoint=False).astype(int)
    return sorted(set(lengths.tolist()) - {count}, reverse=True)


def _filled(
    widths: Integers, limits: "Limits", order: Sequence[int], costs: Costs, fits: Callable[[Integers], bool]
) -> Integers:
    """Widen the groups a little in turns, in the given order, until nothing fits any more."""
    before = None
    while before is None or not np.array_equal(before, widths):
        before = widths
        for group in order:
            fitting = [wider for wider in _wider(widths, limits, group) if fits(wider)]
            time = costs.cost(widths).of(LATENCY)
            free = [wider for wider in fitting if costs.cost(wider).of(LATENCY) <= time]
            widths = free[-1] if free else fitting[0] if fitting else widths
    return widths


def _wider(widths: Integers, limits: "Limits", group: int) -> Iterator[Integers]:
    """Yield the widths with one group a multiple wider or at the next multiple of a block, the narrowest first."""
    width, step = int(widths[group]), int(limits.step[group])
    blocks = (block * (width // block + 1) for block in BLOCKS if block % step == 0)
    for candidate in sorted({width + step, *blocks}):
        if candidate <= limits.full[group]:
            changed = widths.copy()
            changed[group] = candidate
            yield changed


def _best(group: ChannelGroup, width: int, scores: Scores | None) -> Tensor:
    if scores is None or group.id not in scores.by_group:
        return torch.arange(width)
    order = torch.argsort(scores.by_group[group.id], descending=True, stable=True)
    return order[:width].sort().values


def _describe(groups: Sequence[ChannelGroup], floor: float, round_to: int) -> str:
    protected = sum(group.protected_reason is not None for group in groups)
    least = f"{floor:.0%} of the channels and at least one of every group" if floor else "one channel of every group"
    rounding = f", in multiples of {round_to}" if round_to > 1 else ""
    return f"{least}{rounding}; {protected} protected groups whole"
