"""What keeps a budget from being met: the floor, the multiples of widths, or a group that stays whole."""

import math
from collections.abc import Iterator, Sequence

from slimprune.budget.cost import Costs
from slimprune.budget.limits import least_widths
from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Integers
from slimprune.types import Quantity


def largest_obstacle(
    groups: Sequence[ChannelGroup], costs: Costs, of: Quantity, *, floor: float, round_to: int
) -> str | None:
    """Return, in a clause, what costs most beyond the least widths, and the ratio at most without it.

    Args:
        groups: All groups of the model.
        costs: Cost model of the same groups.
        of: What the budget limits.
        floor: Minimum share of its channels that every group keeps.
        round_to: Number of which widths are multiples.

    Returns:
        The clause; None if nothing would change it.
    """
    dense, least = costs.dense.of(of), costs.cost(least_widths(groups, floor, round_to)).of(of)
    found = [(costs.cost(widths).of(of), what) for what, widths in _without(groups, floor, round_to)]
    cost, what = min(found, default=(least, ""))
    if cost >= least:
        return None
    return f"{what} holds most of it back: {most_removed(cost, dense):.4f} at most without"


def most_removed(cost: float, dense: float) -> float:
    """Return the share that is removed if a cost is left, rounded down to four digits."""
    return math.floor(1e4 * (1 - cost / dense)) / 1e4


def _without(groups: Sequence[ChannelGroup], floor: float, round_to: int) -> Iterator[tuple[str, Integers]]:
    """Yield each thing that could be changed, and the least widths without it."""
    if floor:
        yield f"--floor {floor:g}", least_widths(groups, 0.0, round_to)
    if round_to > 1:
        yield f"--round-to {round_to}", least_widths(groups, floor, 1)
    for number, group in enumerate(groups):
        if group.protected_reason is not None:
            widths = least_widths(groups, floor, round_to)
            widths[number] = max(1, math.ceil(floor * group.width))
            yield f"{group.id} ({group.protected_reason})", widths
