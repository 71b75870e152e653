"""A process of numbers, 0 to M, that goes backwards in N units of room."""

import gc
import weakref
from collections import Counter

import pytest

from slimprune.saliency.reversal import in_reverse


class Thing:
    """A state or value of number n, with the names of the vectors that it holds."""

    def __init__(self, number, vectors=()):
        self.number, self.vectors = number, vectors


class Process:
    """Steps of numbers, which count themselves and the most vectors that were stored at once."""

    def __init__(self, steps, room, size):
        self.computed, self.most, self._stored = Counter(), 0, weakref.WeakSet()
        self._size = size
        found = in_reverse(Thing(0), steps, self._step, value=self._value, kept=self._kept, room=room, size=size)
        self.numbers = []
        while (value := next(found, None)) is not None:
            self.numbers.append(value.number)
            del value
            self._count()

    def _step(self, state, step):
        assert state.number == step
        self.computed[step] += 1
        self._count()
        return Thing(state.number + 1)

    def _value(self, state):
        return self._hold(Thing(state.number, (f"{state.number} value",)))

    def _kept(self, state):
        more = tuple(f"{state.number} {part}" for part in range(self._size - 1))
        return self._hold(Thing(state.number, (f"{state.number} value", *more)))

    def _hold(self, thing):
        self._stored.add(thing)
        return thing

    def _count(self):
        names = {name for thing in self._stored for name in thing.vectors if not name.startswith("0 ")}
        self.most = max(self.most, len(names))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_number_comes_once_and_no_more_are_stored_than_have_room(size):
    gc.disable()
    try:
        for steps in range(14):
            for room in range(1, steps + 2):
                process = Process(steps, room, size)
                assert process.numbers == list(range(steps, -1, -1))
                assert process.most <= room
                assert process.computed.keys() == set(range(steps))
                assert steps == 0 or process.computed[steps - 1] == 1
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("steps", "room", "size", "computed", "often"),
    [
        (12, 12, 1, 12, 1),  # all are stored
        (12, 11, 1, 13, 2),  # the first is computed again
        (12, 1, 1, 12 * 13 // 2, 12),  # from the start for every number
        (1024, 64, 1, 2 * 1024 - 64, 2),
        (1024, 64, 2, 2007, 2),
        (1024, 44, 1, 2 * 1024 - 44, 2),  # (44 + 2) * (44 + 1) / 2 = 1035 numbers come of two times, 0 included
    ],
)
def test_steps_are_computed_as_few_times_as_the_room_allows(steps, room, size, computed, often):
    process = Process(steps, room, size)
    assert process.computed.total() == computed
    assert max(process.computed.values()) == often


def test_ten_thousand_steps_do_not_nest_too_deeply():
    for room in (1, 140, 300, 4000, 5000, 9999):
        found = in_reverse(0, 10_000, lambda state, _: state + 1, value=int, kept=int, room=room)
        assert next(found) == 10_000
