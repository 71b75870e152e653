"""Sampling by a clock that the calls themselves move on."""

from types import SimpleNamespace

import pytest

from slimprune.errors import UsageError
from slimprune.timing import Sampling, Stopwatch, interleaved_times, paired_times, sampling, timing_of
from slimprune.timing.sampling import ROUNDS, SHORT_SECONDS, WARM_UP_SECONDS, warm_up


class Clock:
    """Seconds that pass only when something is called; who was called stands in `log`."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def call(self, name, seconds):
        def call():
            self.log.append(name)
            self.now += seconds(self.now) if callable(seconds) else seconds

        return call

    def watch(self):
        return Stopwatch(lambda: self.now)

    def paired(self, first, second, how, **options):
        return paired_times(first, second, how, **{"stopwatch": self.watch(), **options})


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(sampling, "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


def test_seconds_per_call_of_both(clock):
    times = clock.paired(clock.call("A", 0.001), clock.call("B", 0.004), Sampling(10))
    assert times.first == pytest.approx([0.001] * 10)
    assert times.second == pytest.approx([0.004] * 10)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0.001, 0.004, (20, 5)),  # 20 ms of each
        (0.05, 0.002, (1, 25)),  # as long as the slower call, 50 ms
        (0.0101, 0.0099, (3, 3)),  # 2 and 3, but alike
        (0.30, 0.31, (1, 1)),
    ],
)
def test_samples_last_equally_long(clock, first, second, expected):
    assert sampling._repeats(first, second) == expected


def test_the_order_within_a_pair_is_drawn(clock):
    def order(seed):
        clock.log.clear()
        clock.paired(clock.call("A", 0.03), clock.call("B", 0.031), Sampling(64, seed=seed))
        return ["".join(clock.log[at : at + 2]) for at in range(len(clock.log) - 128, len(clock.log), 2)]

    drawn = order(0)
    assert set(drawn) == {"AB", "BA"}
    assert 16 < drawn.count("AB") < 48
    assert drawn == order(0) != order(1)


def test_short_calls_are_preceded_by_an_untimed_one(clock):
    """What a call costs right after the other network ran does not count."""
    cold = {"A": 0.001, "B": 0.001}

    def seconds(name):
        return lambda now: cold[name] if clock.log[-2:] == [name, name] else 0.005

    calls = [clock.call(name, seconds(name)) for name in "AB"]
    times = clock.paired(*calls, Sampling(10))
    assert times.first + times.second == pytest.approx([0.001] * 20)


def test_time_runs_out_between_pairs_but_not_before_the_fewest(clock):
    """Pairs of two seconds: ten seconds are over after six of them."""
    calls = clock.call("A", 1.0), clock.call("B", 1.0)
    assert len(clock.paired(*calls, Sampling(200, seconds=21)).first) == 11
    assert len(clock.paired(*calls, Sampling(200, seconds=1)).first) == 8


def test_drift_hits_both(clock):
    """The machine gets three times slower while a 10 % difference is measured."""
    slower = lambda cost: lambda now: cost * (1 + now / 10)  # noqa: E731
    times = clock.paired(clock.call("A", slower(0.03)), clock.call("B", slower(0.033)), Sampling(200))
    assert times.first[-1] > 2.5 * times.first[0]
    timing = timing_of(times.first, times.second)
    assert timing.low <= 1.1 <= timing.high
    assert timing.differs


def test_warm_up_ends_when_calls_no_longer_get_faster(clock):
    costs = iter([1.0, *[0.05] * 5, *[0.02] * 5, *[0.01] * 100])
    assert warm_up(clock.call("A", lambda now: next(costs)), clock.watch()) == pytest.approx(0.01)
    assert len(clock.log) < 30


def test_warm_up_is_bounded(clock):
    """Calls that get faster forever end with the time, long ones after three; the first one never counts."""
    assert warm_up(clock.call("A", 5.0), clock.watch()) == 5.0
    assert len(clock.log) == 3
    costs = iter([0.9**i for i in range(1000)])
    began = clock.now
    warm_up(clock.call("A", lambda now: next(costs)), clock.watch())
    assert clock.now - began < WARM_UP_SECONDS + 1


def test_work_is_waited_for_before_and_after_every_sample(clock):
    pending = 0.0

    def begin():
        nonlocal pending
        pending += 0.03

    def synchronise():
        nonlocal pending
        clock.now, pending = clock.now + pending, 0.0

    times = clock.paired(begin, begin, Sampling(8), stopwatch=Stopwatch(lambda: clock.now, synchronise))
    assert times.first + times.second == pytest.approx([0.03] * 16)


def test_time_that_the_stopwatch_leaves_out_is_told_as_a_share(clock):
    """Three quarters of every call belong to other work."""
    own = Stopwatch(lambda: clock.now / 4)
    times = clock.paired(clock.call("A", 0.4), clock.call("B", 0.4), Sampling(8), stopwatch=own)
    assert times.first + times.second == pytest.approx([0.1] * 16)
    assert times.disturbed == pytest.approx(0.75)


def test_progress_tells_the_pairs_that_are_done(clock):
    done = []
    clock.paired(clock.call("A", 0.1), clock.call("B", 0.1), Sampling(9), progress=lambda *event: done.append(event))
    assert done == [("time", pairs, 9, "") for pairs in range(1, 10)]


@pytest.mark.parametrize(
    ("pairs", "seconds", "message"),
    [
        (7, 1.0, "expected samples of at least 8 pairs, got 7"),
        (8, 0.0, "expected a finite number of seconds above 0, got 0"),
        (8, float("nan"), "got nan"),
        (8, float("inf"), "got inf"),
    ],
)
def test_impossible_sampling_is_refused(pairs, seconds, message):
    with pytest.raises(UsageError, match=message):
        Sampling(pairs, seconds)


# Many calls ----------------------------------------------------------------------------------------------------------


def test_many_calls_in_turns_in_changing_order(clock):
    calls = [clock.call(name, seconds) for name, seconds in (("A", 0.010), ("B", 0.005), ("C", 0.020))]
    assert interleaved_times(calls, stopwatch=clock.watch()) == pytest.approx([0.010, 0.005, 0.020])
    rounds = ["".join(clock.log[9:])[at : at + 3] for at in range(0, 3 * ROUNDS, 3)]
    assert all(sorted(one) == ["A", "B", "C"] for one in rounds)
    assert len(set(rounds)) > 1


def test_a_disturbed_round_does_not_count(clock):
    slow = iter([True] * 3 + [False, True, False, False, False])
    calls = [clock.call("A", lambda now: 0.5 if next(slow) else 0.01), clock.call("B", 0.01)]
    assert interleaved_times(calls, stopwatch=clock.watch()) == pytest.approx([0.01, 0.01])


def test_short_calls_are_repeated(clock):
    calls = [clock.call("A", SHORT_SECONDS / 3.5), clock.call("B", 1.5 * SHORT_SECONDS)]
    interleaved_times(calls, stopwatch=clock.watch())
    assert clock.log.count("B") == 3 + ROUNDS
    assert clock.log.count("A") == 3 + ROUNDS * (4 + 1)  # one more, untimed, refills the caches
