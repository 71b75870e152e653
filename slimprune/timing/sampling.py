"""Wall-clock samples of two or more calls, interleaved so that whatever drifts hits all of them."""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from slimprune.errors import UsageError
from slimprune.timing.pairs import MIN_PAIRS
from slimprune.types import Listener, ignore

Call = Callable[[], object]

SAMPLE_SECONDS = 0.02
"""Least length of a sample; shorter calls are repeated inside it, and as long as one of the slower calls takes: what
interrupts often misses a short sample and never a long one, which would flatter the faster network."""

ROUNDS = 5
"""Samples of each of many calls."""

SHORT_SECONDS = 0.004
"""Least length of a sample where there are many calls, most of them short."""

WARM_UP_SECONDS = 2.0
"""Most time that warming one call up takes, unless its first three calls take longer."""

_WINDOW, _SETTLED = 5, 0.98
_ALIKE, _SHORT = 1.5, 4


@dataclass(frozen=True)
class Sampling:
    """How many samples are taken.

    Attributes:
        pairs: pairs of samples, at least `pairs.MIN_PAIRS`.
        seconds: wall-clock after which no further pair is begun once there are `MIN_PAIRS`, above 0. It is looked at
            between pairs, whose length does not depend on which of the two came first, so that stopping favours none.
        seed: of the coin that orders each pair.

    Raises:
        UsageError: a value out of its range.
    """

    pairs: int = 200
    seconds: float = 20.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pairs < MIN_PAIRS:
            raise UsageError(f"expected samples of at least {MIN_PAIRS} pairs, got {self.pairs}")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"expected a finite number of seconds above 0, got {self.seconds}")


def no_wait() -> None:
    """What there is to wait for where calls return when they are done."""


@dataclass(frozen=True)
class Stopwatch:
    """How a sample is timed.

    Attributes:
        now: seconds that have passed so far, from any origin.
        synchronise: waits until work that a call has only begun is done; called around every sample.
    """

    now: Callable[[], float] = time.perf_counter
    synchronise: Callable[[], None] = no_wait

    def seconds(self, call: Call, repeats: int) -> float:
        """Seconds per call over `repeats` calls."""
        self.synchronise()
        began = self.now()
        for _ in range(repeats):
            call()
        self.synchronise()
        return (self.now() - began) / repeats


@dataclass(frozen=True)
class PairedTimes:
    """Seconds per call of both networks, one entry per pair.

    Attributes:
        first: of A.
        second: of B.
        disturbed: share of the wall-clock of all samples that the stopwatch left out, because other work had the cores.
    """

    first: list[float]
    second: list[float]
    disturbed: float


def paired_times(
    first: Call,
    second: Call,
    sampling: Sampling,
    *,
    stopwatch: Stopwatch | None = None,
    progress: Listener = ignore,
) -> PairedTimes:
    """Times two calls in turns, after they were warmed up.

    Args:
        first: A; called many times.
        second: B.
        sampling: how many pairs, for how long, in which order.
        stopwatch: wall-clock by default.
        progress: hears ("time", pairs done, pairs in all, ""); time may be up before the last.
    """
    stopwatch = stopwatch or Stopwatch()
    repeats = _repeats(warm_up(first, stopwatch), warm_up(second, stopwatch))
    coin, began, spent = random.Random(sampling.seed), time.perf_counter(), 0.0
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < sampling.pairs:
        if len(times[0]) >= MIN_PAIRS and time.perf_counter() - began > sampling.seconds:
            break
        for which in coin.choice([(0, 1), (1, 0)]):
            _refill_caches((first, second)[which], repeats[which], stopwatch)
            started = time.perf_counter()
            times[which].append(stopwatch.seconds((first, second)[which], repeats[which]))
            spent += time.perf_counter() - started
        progress("time", len(times[0]), sampling.pairs, "")
    counted = sum(repeats[which] * sum(times[which]) for which in (0, 1))
    return PairedTimes(*times, disturbed=max(0.0, 1 - counted / spent))


def interleaved_times(calls: Sequence[Call], *, stopwatch: Stopwatch | None = None, seed: int = 0) -> list[float]:
    """Times many calls in turns, in an order that is drawn anew for every round, after each was made three times.

    Args:
        calls: what to time.
        stopwatch: wall-clock by default.
        seed: of the order.

    Returns:
        Seconds per call, for each the median of its samples.
    """
    stopwatch = stopwatch or Stopwatch()
    fastest = [min(stopwatch.seconds(call, 1) for _ in range(3)) for call in calls]
    repeats = [max(1, math.ceil(SHORT_SECONDS / seconds)) for seconds in fastest]
    order, coin = list(range(len(calls))), random.Random(seed)
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        coin.shuffle(order)
        for which in order:
            _refill_caches(calls[which], repeats[which], stopwatch)
            times[which].append(stopwatch.seconds(calls[which], repeats[which]))
    return [median(samples) for samples in times]


def warm_up(call: Call, stopwatch: Stopwatch) -> float:
    """Calls until the fastest of five calls is no longer 2 % faster than the fastest of the five before.

    Returns:
        Seconds of the fastest call but the first.
    """
    began, times = time.perf_counter(), []
    while True:
        times.append(stopwatch.seconds(call, 1))
        settled = len(times) > 2 * _WINDOW and min(times[-_WINDOW:]) > _SETTLED * min(times[-2 * _WINDOW : -_WINDOW])
        if settled or (len(times) >= 3 and time.perf_counter() - began > WARM_UP_SECONDS):
            return min(times[1:])


def _repeats(first: float, second: float) -> tuple[int, int]:
    """Calls per sample; the same number where the two are alike, so that no accident of the warm-up sets them apart."""
    slower = max(first, second)
    counts = [max(math.ceil(SAMPLE_SECONDS / seconds), round(slower / seconds)) for seconds in (first, second)]
    if slower < _ALIKE * min(first, second):
        counts = [max(counts)] * 2
    return counts[0], counts[1]


def _refill_caches(call: Call, repeats: int, stopwatch: Stopwatch) -> None:
    """One untimed call before short ones, whose time would otherwise depend on what the other network left there."""
    if repeats >= _SHORT:
        call()
        stopwatch.synchronise()
