"""Statistics of paired times: two lists of seconds in, a ratio with its interval and a verdict out.

Times of a machine that does other work too are not independent: the clock rate drifts, neighbours come and go, a
preempted sample is a spike. What is under control is the order within a pair, and it is drawn by coin (see
`sampling`). If B takes theta times as long as A, then in log(b / a) - log(theta) all of the noise that the two samples
met stands with a sign that only the coin decides: an independent fair sign for each pair, however the noise itself
hangs together. The number of log ratios above log(theta) is therefore exactly binomial(n, 1/2), and the order
statistics that such a count leaves inside are an interval for theta at no less than its stated confidence. A bootstrap
over pairs would need independent pairs, one over blocks of pairs the right block length and many blocks; this needs
neither, and spikes move it little because it is made of ranks.

No number of pairs removes what the coin cannot reach: where the weights of a copy happen to lie in memory. Two copies
of one network keep a difference of some tenths of a percent for as long as they live. The interval is widened by it.

Source: R. A. Fisher, The Design of Experiments, 1935, chapter 3 (randomisation inside pairs); H. A. David and
H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1 (intervals for quantiles).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from slimprune.errors import UsageError

CONFIDENCE = 0.99
"""Of the interval. At 0.95 one comparison of a network with itself in twenty would find a difference."""

PLACEMENT = 0.01
"""By how much two copies of one network may differ through their place in memory alone; measured: 0.4 % at most."""

MIN_PAIRS = 8
"""Fewest pairs for which the whole range of log ratios has that confidence: 1 - 2 / 2**8 = 0.992."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the times of one network, in seconds per call."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Timing:
    """What paired times say of two networks.

    Attributes:
        first: times of A.
        second: times of B.
        ratio: time of B over that of A: exp of the median log ratio of the pairs.
        low: lower end of the interval of the ratio.
        high: upper end.
        pairs: number of pairs.
        confidence: of the interval.
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
        """Whether the interval leaves out 1."""
        return not self.low <= 1 <= self.high

    @property
    def speedup(self) -> float:
        """How many times as fast as A B is."""
        return 1 / self.ratio

    @property
    def verdict(self) -> str:
        """`no difference`, or how many times faster or slower B is."""
        if not self.differs:
            return "no difference"
        return f"{self.speedup:.2f} times faster" if self.ratio < 1 else f"{self.ratio:.2f} times slower"


def timing_of(first: Sequence[float], second: Sequence[float], *, placement: float = PLACEMENT) -> Timing:
    """The verdict on paired times.

    Args:
        first: seconds per call of A, one entry per pair, above 0.
        second: the same of B; within each pair, which came first was drawn by coin.
        placement: share by which the interval is widened at both ends.

    Raises:
        UsageError: fewer than `MIN_PAIRS` pairs.

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
    """The k for which the k-th smallest to the k-th largest of `count` values are an interval for the median.

    The largest k with 2 * P(binomial(count, 1/2) <= k - 1) <= 1 - confidence; 0 where there is none.
    """
    allowed, below, ways, rank = (1 - confidence) / 2, 1, 1, 0
    # Integers divide exactly where 2.0 ** count would overflow.
    while below / 2**count <= allowed:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        below += ways
    return rank


def _spread(times: Sequence[float]) -> Spread:
    lower, middle, upper = quantiles(times, n=4, method="inclusive")
    return Spread(middle, lower, upper)
