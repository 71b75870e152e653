"""Budgets beside units of several channels: what a unit that does not fit would leave unused goes to other groups."""

from collections.abc import Callable

import numpy as np

from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Integers

UNUSED = 0.05
"""Share of the dense network that a unit which does not fit may leave unused before others take it."""

Fits = Callable[[Integers], bool]


def is_coarse(group: ChannelGroup) -> bool:
    """Return whether each channel of a group stands for several of a layer, as in grouped convolutions and norms."""
    return any(slot.entries > 1 for slot in group.slots_of("producer", "depthwise"))


def around_unit(order: Integers, count: int, fits: Fits) -> list[Integers]:
    """Return sequences of grants that fit, one without the first that did not fit and, if there is one, one with it.

    Without it, what is behind it is granted as far as it fits. With it, as few of the grants before it as possible are
    taken back, from the last one on, and the rest is then granted as far as it fits.

    Args:
        order: Groups in the order in which their channels are granted.
        count: Number of grants that fit; the next one does not.
        fits: Whether a sequence of grants fits.
    """
    unit, before = order[count], order[:count]
    own, others = before[before == unit], before[before != unit]
    found = [_granted(before, order[count:], fits)]
    fixed = np.append(own, unit)
    if fits(fixed):
        taken = last(len(others), lambda number: fits(np.concatenate([fixed, others[:number]])))
        rest = np.concatenate([others[taken:], order[count + 1 :]])
        found.append(_granted(np.concatenate([fixed, others[:taken]]), rest, fits))
    return found


def _granted(granted: Integers, rest: Integers, fits: Fits) -> Integers:
    """Return the grants and those of the rest, in its order, that fit; a group ends with its first that does not."""
    while len(rest):
        taken = last(len(rest), lambda number: fits(np.concatenate([granted, rest[:number]])))  # noqa: B023 called here
        granted, rest = np.concatenate([granted, rest[:taken]]), rest[taken:]
        rest = rest[rest != rest[0]] if len(rest) else rest
    return granted


def last(count: int, fits: Callable[[int], bool]) -> int:
    """Return the largest n in 0 ... count that fits, given that 0 fits and fitting is monotone."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
