"""The widths that the groups of a plan may have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Integers


@dataclass(frozen=True, eq=False)
class Limits:
    """Minimum and full widths of the groups, [G] each, and the multiples between them.

    Attributes:
        low: Least widths.
        full: Full widths.
        step: Number of which the widths are multiples.
    """

    low: Integers
    full: Integers
    step: Integers

    @classmethod
    def of(cls, groups: Sequence[ChannelGroup], floor: float, round_to: int) -> "Limits":
        """Return the limits; protected groups and those narrower than one multiple keep all their channels.

        Raises:
            UsageError: If floor or round_to is out of range.
        """
        if not 0 <= floor < 1:
            raise UsageError(f"expected floor in [0, 1), got {floor}")
        if round_to < 1:
            raise UsageError(f"expected round_to >= 1, got {round_to}")
        full = np.array([group.width for group in groups], np.int64)
        whole = np.array([group.protected_reason is not None or group.width < round_to for group in groups])
        low = np.where(whole, full, np.maximum(1, np.ceil(floor * full)).astype(np.int64))
        return cls(low, full, np.where(whole, 1, round_to))

    def rounded(self, widths: Integers) -> Integers:
        """Return the nearest multiples within the limits, [G]."""
        nearest: Integers = (2 * widths + self.step) // (2 * self.step) * self.step
        most = self.full // self.step * self.step
        least = np.minimum(-(-self.low // self.step) * self.step, most)
        return np.clip(nearest, least, most)


def least_widths(groups: Sequence[ChannelGroup], floor: float, round_to: int) -> Integers:
    """Return the minimum widths of a plan, [G].

    Raises:
        UsageError: If floor or round_to is out of range.
    """
    limits = Limits.of(groups, floor, round_to)
    return limits.rounded(limits.low)
