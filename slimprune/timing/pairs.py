"""Statistics of paired times: the ratio of two lists of seconds, with its interval and a verdict.

Times measured on a machine that also does other work are not independent: the clock rate drifts, other processes start
and stop, and a preempted sample is an outlier. What can be controlled is the order within a pair, which is drawn at
random (see `sampling`). If B takes theta times as long as A, the noise of both samples enters log(b / a) - log(theta)
with a sign that depends on the random order alone: an independent fair sign for each pair, however the noise itself is
correlated. The number of log ratios above log(theta) is therefore exactly binomial(n, 1/2), and the corresponding order
statistics are an interval for theta with at least its stated confidence. A bootstrap over pairs would require
independent pairs; one over blocks of pairs would require the right block length and many blocks. This method requires
neither, and outliers change it little because it is based on ranks.

More pairs do not remove an effect that the random order does not reach: the location of a copy's weights in memory. Two
copies of one network keep a difference of some tenths of a percent for as long as they exist. The interval is widened
accordingly.

Source: R. A. Fisher, The Design of Experiments, 1935, chapter 3 (randomisation inside pairs); H. A. David and
H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1 (intervals for quantiles).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from slimprune.errors import UsageError

CONFIDENCE = 0.99
"""Confidence of the interval. At 0.95, one in twenty comparisons of a network with itself would find a difference."""

PLACEMENT = 0.01
"""Allowed difference between two copies of one network due to their location in memory; measured: at most 0.4 %."""

MIN_PAIRS = 8
"""Smallest number of pairs whose whole range of log ratios has that confidence: 1 - 2 / 2**8 = 0.992."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the times of one network, in seconds per call."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Timing:
    """Statistics of the paired times of two networks.

    Attributes:
        first: Times of A.
        second: Times of B.
        ratio: Time of B over that of A: exp of the median log ratio of the pairs.
        low: Lower end of the interval of the ratio.
        high: Upper end of the interval of the ratio.
        pairs: Number of pairs.
        confidence: Confidence of the interval.
    """

    first: Spread
    second: Spread
    ratio: float
    low: float
    high: float
    pairs: int
    confidence: float = CONFIDENCE

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 1."""
        return not self.low <= 1 <= self.high

    @property
    def speedup(self) -> float:
        """Speed of B relative to that of A."""
        return 1 / self.ratio

    @property
    def verdict(self) -> str:
        """`no difference`, or how many times faster or slower B is."""
        if not self.differs:
            return "no difference"
        return f"{self.speedup:.2f} times faster" if self.ratio < 1 else f"{self.ratio:.2f} times slower"


def timing_of(first: Sequence[float], second: Sequence[float], *, placement: float = PLACEMENT) -> Timing:
    """Return the statistics of paired times.

    Args:
        first: Seconds per call of A, one entry per pair, above 0.
        second: Seconds per call of B; the order within each pair was drawn at random.
        placement: Fraction by which the interval is widened at both ends.

    Raises:
        UsageError: If there are fewer than `MIN_PAIRS` pairs.

    Examples:
        >>> timing_of([2.0, 2.2, 2.1, 2.0, 2.3, 2.0, 2.1, 2.0], [1.0, 1.1, 1.05, 1.0, 1.15, 1.0, 1.05, 1.0]).verdict
        '2.00 times faster'
    """
    pairs = len(first)
    if pairs < MIN_PAIRS:
        raise UsageError(f"expected at least {MIN_PAIRS} pairs, got {pairs}")
    ratios = sorted(math.log(b / a) for a, b in zip(first, second, strict=True))
    rank = interval_rank(pairs, CONFIDENCE)
    low = math.exp(ratios[rank - 1]) / (1 + placement)
    high = math.exp(ratios[pairs - rank]) * (1 + placement)
    return Timing(_spread(first), _spread(second), math.exp(median(ratios)), low, high, pairs)


def interval_rank(count: int, confidence: float) -> int:
    """Return the k for which the k-th smallest to the k-th largest of `count` values are an interval for the median.

    This is the largest k with 2 * P(binomial(count, 1/2) <= k - 1) <= 1 - confidence; 0 if there is none.
    """
    allowed, below, ways, rank = (1 - confidence) / 2, 1, 1, 0
    # Integers divide correctly even if 2.0 ** count would overflow.
    while below / 2**count <= allowed:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        below += ways
    return rank


def _spread(times: Sequence[float]) -> Spread:
    lower, middle, upper = quantiles(times, n=4, method="inclusive")
    return Spread(middle, lower, upper)
