"""The states of a process from the last to the first, of which only some are stored and the rest computed again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

State = TypeVar("State")
Value = TypeVar("Value")


def in_reverse(
    start: State,
    steps: int,
    advance: Callable[[State, int], State],
    *,
    value: Callable[[State], Value],
    kept: Callable[[State], State],
    room: int,
    size: int = 1,
) -> Iterator[Value]:
    """Yield the values of states `steps`, `steps` - 1, ... 0 of a process; those before are computed from stored ones.

    From a state that is held, the process goes to a later one, which is stored, and all from there on are yielded in
    the same way in the room that is left; then those before it. Where all values between two states have room, they are
    stored at once. The later state is chosen such that the number of times that any step is computed is the smallest
    possible. The last step is computed once.

    Args:
        start: State 0, which the caller holds.
        steps: Number of steps.
        advance: (state before a step, step) -> state after it.
        value: What is wanted of a state, in the form in which it is stored; it takes one unit of room.
        kept: A state, in the form in which it is stored.
        room: Most units of room that are taken at any time, at least 1; `start` and a value that was yielded take none.
        size: Units that a stored state takes, at least 1.

    Source: Griewank and Walther, Algorithm 799: revolve (ACM TOMS 2000), extended to states larger than values.
    """
    # Not a function within this one: it would refer to itself and hold all states until the garbage collector comes.
    return _Reversal(advance, value, kept, size, _reach(room, size, steps + 1)).part(start, 0, steps, room)


@dataclass(frozen=True)
class _Reversal(Generic[State, Value]):
    """What all parts of a process that is gone through backwards have in common; see `in_reverse`."""

    advance: Callable[[State, int], State]
    value: Callable[[State], Value]
    kept: Callable[[State], State]
    size: int
    reach: list[list[int]]

    def part(self, state: State, first: int, last: int, room: int) -> Iterator[Value]:
        """Yield values `last` ... `first`; `state` is state `first`."""
        while last - first > room:
            middle = last + 1 - _right_part(self.reach, last + 1 - first, room, self.size)
            if last - middle < room:
                yield from self.part(self._advanced(state, first, middle), middle, last, room - 1)
            else:
                yield from self.part(self.kept(self._advanced(state, first, middle)), middle, last, room - self.size)
            last = middle - 1
        values = [self.value(state)]
        for step in range(first, last):
            state = self.advance(state, step)
            values.append(self.value(state))
        del state
        while values:
            yield values.pop()

    def _advanced(self, state: State, first: int, last: int) -> State:
        for step in range(first, last):
            state = self.advance(state, step)
        return state


def _reach(room: int, size: int, count: int) -> list[list[int]]:
    """Return a table: most values that have room for s units, where no step is computed more than r times, at [r][s].

    One of them belongs to the state from which the others are computed, which is held already. The table ends with the
    first r at which there are at least `count` values for the whole room.
    """
    rows = [[1] * (room + 1)]
    while rows[-1][room] < count:
        row = [1]
        for units in range(1, room + 1):
            behind_stored_state = row[units - size] if units >= size else 0
            row.append(rows[-1][units] + max(behind_stored_state, units))
        rows.append(row)
    return rows


def _right_part(reach: list[list[int]], count: int, room: int, size: int) -> int:
    """Return how many of `count` values, more than have room, are computed from a later state than the first.

    About half of them or as many as have room, as far as the table allows, so that parts are nested less deeply.
    """
    fewer, enough = next((below, row) for below, row in pairwise(reach) if row[room] >= count)
    most = max(enough[room - size] if room >= size else 0, room)
    return min(max(count // 2, room, count - fewer[room]), most)
