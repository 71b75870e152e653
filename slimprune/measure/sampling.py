"""Paired wall-clock samples of two calls, interleaved so that whatever drifts hits both."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from slimprune.errors import UsageError
from slimprune.measure.pairs import MIN_PAIRS

Call = Callable[[], object]

SAMPLE_SECONDS = 0.02
"""Least length of a sample; shorter calls are repeated inside it."""

WARM_UP_SECONDS = 2.0
"""Most time that warming one call up takes, unless its first three calls take longer."""

_WINDOW, _SETTLED = 5, 0.98
_ALIKE = 1.5


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


def paired_times(
    first: Call,
    second: Call,
    sampling: Sampling,
    *,
    synchronise: Callable[[], None] = no_wait,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[float], list[float]]:
    """Seconds per call of both, one entry per pair.

    Args:
        first: A; called many times.
        second: B.
        sampling: how many pairs, for how long, in which order.
        synchronise: waits until work that a call has only begun is done; called around every sample.
        progress: called with the number of pairs done.
    """
    repeats = _repeats(warm_up(first, synchronise), warm_up(second, synchronise))
    coin, began = random.Random(sampling.seed), time.perf_counter()
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < sampling.pairs:
        if len(times[0]) >= MIN_PAIRS and time.perf_counter() - began > sampling.seconds:
            break
        for which in coin.choice([(0, 1), (1, 0)]):
            times[which].append(_sample((first, second)[which], repeats[which], synchronise))
        progress(len(times[0]))
    return times


def warm_up(call: Call, synchronise: Callable[[], None] = no_wait) -> float:
    """Calls until the fastest of five calls is no longer 2 % faster than the fastest of the five before.

    Returns:
        Seconds of the fastest call but the first.
    """
    began, times = time.perf_counter(), []
    while True:
        times.append(_timed(call, 1, synchronise))
        settled = len(times) > 2 * _WINDOW and min(times[-_WINDOW:]) > _SETTLED * min(times[-2 * _WINDOW : -_WINDOW])
        if settled or (len(times) >= 3 and time.perf_counter() - began > WARM_UP_SECONDS):
            return min(times[1:])


def _repeats(first: float, second: float) -> tuple[int, int]:
    """Calls per sample; the same number where the two are alike, so that no accident of the warm-up sets them apart."""
    counts = [max(1, math.ceil(SAMPLE_SECONDS / seconds)) for seconds in (first, second)]
    if max(first, second) < _ALIKE * min(first, second):
        counts = [max(counts)] * 2
    return counts[0], counts[1]


def _sample(call: Call, repeats: int, synchronise: Callable[[], None]) -> float:
    """Seconds per call; short calls begin with one more, untimed, to get back the caches that the other call filled."""
    if repeats > 1:
        call()
    return _timed(call, repeats, synchronise)


def _timed(call: Call, repeats: int, synchronise: Callable[[], None]) -> float:
    synchronise()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronise()
    return (time.perf_counter() - began) / repeats
