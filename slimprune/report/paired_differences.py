"""The difference of two rows of a comparison, paired by seed, with an interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

STUDENT_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t distribution for 1, 2, ..., 30 degrees of freedom."""


FEWEST_SEEDS = 3
"""Minimum number of seeds for an interval. With two seeds it is unreliable: results are shares of a test set, so that
two differences may be equal by chance."""


@dataclass(frozen=True)
class Gap:
    """The difference between one row and another.

    Attributes:
        mean: Mean of the differences over the seeds that both rows have, in percentage points.
        low: Lower end of the mean's 95 % interval (Student's t, seeds as independent draws); None for too few seeds.
        high: Upper end of the interval; None for too few seeds.
        seeds: Number of seeds.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def sign(self) -> int:
        """1 or -1 if the interval shows which row is better; 0 if it contains zero, has no width, or is missing."""
        if self.low is None or self.high is None or self.low == self.high:  # equal shares of a small test set
            return 0
        return (self.low > 0) - (self.high < 0)


def paired_gap(one: Mapping[str, float], other: Mapping[str, float]) -> Gap | None:
    """Return the gap between two rows, each given as {seed: result in percent}; None if they share no seed.

    Equal seeds mean equal initial weights and equal batches, so the differences vary less than the results.
    """
    differences = [value - other[seed] for seed, value in one.items() if seed in other]
    if not differences:
        return None
    n, mean = len(differences), fmean(differences)
    if n < FEWEST_SEEDS:
        return Gap(mean, None, None, n)
    margin = STUDENT_95[min(n - 1, len(STUDENT_95)) - 1] * stdev(differences) / math.sqrt(n)
    return Gap(mean, mean - margin, mean + margin, n)
