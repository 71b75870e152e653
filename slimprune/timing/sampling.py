"""Wall-clock samples of two or more calls, interleaved so that drift affects all of them."""

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
"""Minimum length of a sample in seconds, reached by repeating shorter calls.

A sample of the faster call is also at least as long as one slower call: interruptions often miss a short sample but
never a long one, which would favour the faster network.
"""

ROUNDS = 5
"""Samples of each call if many calls are timed."""

SHORT_SECONDS = 0.004
"""Minimum length of a sample in seconds if many calls are timed, most of which are short."""

WARM_UP_SECONDS = 2.0
"""Maximum seconds of warming up one call, unless its first three calls take longer."""

_WINDOW, _SETTLED = 5, 0.98
_ALIKE, _SHORT = 1.5, 4


MOST_PAIRS = 1_000_000


@dataclass(frozen=True)
class Sampling:
    """Number and order of samples.

    Attributes:
        pairs: Pairs of samples, at least `pairs.MIN_PAIRS`.
        seconds: Wall-clock time, above 0, after which no further pair is started once there are `MIN_PAIRS`. It is
            checked between pairs, whose length does not depend on their order, so that stopping favours neither call.
        seed: Seed of the random order within pairs.

    Raises:
        UsageError: If a value is out of range.
    """

    pairs: int = 200
    seconds: float = 20.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pairs < MIN_PAIRS:
            raise UsageError(f"expected samples of at least {MIN_PAIRS} pairs, got {self.pairs}")
        if self.pairs > MOST_PAIRS:
            raise UsageError(f"expected samples of at most {MOST_PAIRS} pairs, got {self.pairs}")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"expected a finite number of seconds above 0, got {self.seconds}")


def no_wait() -> None:
    """Return at once, for calls that return when their work is done."""


@dataclass(frozen=True)
class Stopwatch:
    """Clock and synchronisation of a sample.

    Attributes:
        now: Function that returns the seconds passed since any origin.
        synchronise: Function that waits for asynchronous work of a call; called before and after every sample.
    """

    now: Callable[[], float] = time.perf_counter
    synchronise: Callable[[], None] = no_wait

    def seconds(self, call: Call, repeats: int) -> float:
        """Return the seconds per call over `repeats` calls."""
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
        first: Times of A.
        second: Times of B.
        disturbed: Fraction of the samples' wall-clock time that the stopwatch excluded because other work used the
            cores.
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
    """Time two calls in turns, after warming them up.

    Args:
        first: Call A, made many times.
        second: Call B, made many times.
        sampling: Number of pairs, time limit and seed of the order.
        stopwatch: Stopwatch of the samples; wall-clock by default.
        progress: Called with ("time", pairs done, total pairs, ""); the time limit may end it before the last pair.
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
    """Time many calls in turns, in a new random order in every round, after making each of them three times.

    Args:
        calls: Calls to time.
        stopwatch: Stopwatch of the samples; wall-clock by default.
        seed: Seed of the order.

    Returns:
        Seconds per call, the median of the samples of each.
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
    """Repeat a call until the fastest of five calls is no longer 2 % faster than the fastest of the five before.

    Returns:
        Seconds of the fastest call, excluding the first.
    """
    began, times = time.perf_counter(), []
    while True:
        times.append(stopwatch.seconds(call, 1))
        settled = len(times) > 2 * _WINDOW and min(times[-_WINDOW:]) > _SETTLED * min(times[-2 * _WINDOW : -_WINDOW])
        if settled or (len(times) >= 3 and time.perf_counter() - began > WARM_UP_SECONDS):
            return min(times[1:])


def _repeats(first: float, second: float) -> tuple[int, int]:
    """Return the calls per sample of both; equal for similar calls, so that the warm-up causes no difference."""
    slower = max(first, second)
    counts = [max(math.ceil(SAMPLE_SECONDS / seconds), round(slower / seconds)) for seconds in (first, second)]
    if slower < _ALIKE * min(first, second):
        counts = [max(counts)] * 2
    return counts[0], counts[1]


def _refill_caches(call: Call, repeats: int, stopwatch: Stopwatch) -> None:
    """Make one untimed call before short ones, which would otherwise depend on caches left by the other network."""
    if repeats >= _SHORT:
        call()
        stopwatch.synchronise()
