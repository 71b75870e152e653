"""Statistics on made-up times, whose truth is known."""

import math
import random
from statistics import fmean

import pytest

from slimprune.errors import UsageError
from slimprune.timing import CONFIDENCE, MIN_PAIRS, timing_of
from slimprune.timing.pairs import interval_rank


def quiet(rng, slots):
    return [rng.gauss(0, 0.02) for _ in range(slots)]


def drifting(rng, slots):
    """The clock rate falls by two fifths in the course of the samples."""
    return [0.5 * slot / slots + rng.gauss(0, 0.02) for slot in range(slots)]


def spiky(rng, slots):
    """One sample in seven is interrupted for up to four times its length."""
    return [rng.gauss(0, 0.02) + (rng.uniform(0, 1.6) if rng.random() < 1 / 7 else 0) for _ in range(slots)]


def autocorrelated(rng, slots):
    """A first-order autoregression: what slows one sample down slows down the next twenty."""
    values = [0.0]
    for _ in range(slots - 1):
        values.append(0.95 * values[-1] + rng.gauss(0, 0.05))
    return values


def all_at_once(rng, slots):
    parts = zip(drifting(rng, slots), spiky(rng, slots), autocorrelated(rng, slots), strict=True)
    return [sum(part) for part in parts]


NOISES = [quiet, drifting, spiky, autocorrelated, all_at_once]


def sampled(noise, ratio, pairs, seed, *, second_is_slower=0.0, by_coin=True):
    """Times of A (1 s) and of B (`ratio` s), each sample with the noise of its slot."""
    rng = random.Random(seed)
    slots = noise(rng, 2 * pairs)
    first, second = [], []
    for pair in range(pairs):
        early, late = math.exp(slots[2 * pair]), math.exp(slots[2 * pair + 1] + second_is_slower)
        a, b = (early, late) if not by_coin or rng.random() < 0.5 else (late, early)
        first.append(a)
        second.append(ratio * b)
    return first, second


@pytest.mark.parametrize("ratio", [1.0, 1.1, 0.2])
@pytest.mark.parametrize("noise", NOISES)
def test_the_interval_holds_the_ratio_as_often_as_it_says(noise, ratio):
    """500 experiments at 0.99: 495 expected, 6 misses more are three standard deviations."""
    timings = [timing_of(*sampled(noise, ratio, 40, seed), placement=0) for seed in range(500)]
    assert fmean(timing.low <= ratio <= timing.high for timing in timings) >= CONFIDENCE - 0.013
    assert fmean(math.log(timing.ratio / ratio) for timing in timings) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("noise", NOISES)
def test_equal_networks_do_not_differ_in_19_of_20_and_ten_percent_is_found(noise):
    same = [timing_of(*sampled(noise, 1.0, 200, seed), placement=0).verdict for seed in range(20)]
    assert same.count("no difference") >= 19
    slower = [timing_of(*sampled(noise, 1.1, 200, seed)) for seed in range(20)]
    assert sum(timing.low > 1 for timing in slower) >= 19


def test_without_the_coin_a_cost_of_coming_second_is_taken_for_a_difference():
    """5 % for whoever comes second, such as caches that the first one filled."""
    fixed, drawn = (
        [timing_of(*sampled(quiet, 1.0, 100, seed, second_is_slower=0.05, by_coin=coin)).differs for seed in range(20)]
        for coin in (False, True)
    )
    assert all(fixed)
    assert sum(drawn) <= 1


@pytest.mark.parametrize(
    ("count", "rank"),
    [
        (7, 0),  # 2 * P(0 of 7) = 2/128 = 0.0156
        (8, 1),  # 2/256 = 0.0078; rank 2: 2 * (1 + 8)/256 = 0.07
        (10, 1),  # 2/1024 = 0.002; rank 2: 2 * (1 + 10)/1024 = 0.0215
        (12, 2),  # 2 * (1 + 12)/4096 = 0.0063; rank 3: 2 * (1 + 12 + 66)/4096 = 0.0386
        (5000, 2409),  # 2500 - 2.576 * sqrt(5000) / 2 = 2408.9
    ],
)
def test_ranks_of_the_interval(count, rank):
    assert interval_rank(count, 0.99) == rank


def test_median_quartiles_and_ratio():
    first = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    timing = timing_of(first, [time / 4 for time in first])
    assert (timing.first.lower, timing.first.median, timing.first.upper) == (3.0, 5.0, 7.0)
    assert timing.second.median == 1.25
    assert (timing.ratio, timing.low, timing.high) == pytest.approx((0.25, 0.25 / 1.01, 0.25 * 1.01))
    assert timing.speedup == pytest.approx(4)
    assert timing.pairs == 9


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (0.25, "4.00 times faster"),
        (1.1, "1.10 times slower"),
        (1.011, "1.01 times slower"),
        (1.009, "no difference"),  # within what two copies of one network may differ by
        (0.991, "no difference"),
        (1.0, "no difference"),
    ],
)
def test_verdicts(ratio, verdict):
    assert timing_of([1.0] * 20, [ratio] * 20).verdict == verdict


def test_too_few_pairs_are_refused():
    with pytest.raises(UsageError, match=f"expected at least {MIN_PAIRS} pairs, got 7"):
        timing_of([1.0] * 7, [2.0] * 7)
    assert timing_of([1.0] * 8, [2.0] * 8).differs
