"""Signals that stop a program, put off until what is under way can be kept."""

import os
import signal
import threading
import time
from _thread import start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
LONGEST = 12
"""Seconds after which a signal is put off no longer."""

PASSED_ON = 2.0
"""Seconds within which a signal that comes again was passed on by a launcher; later, the user insists."""


class Interruption:
    """A signal that may have come while signals are put off.

    Attributes:
        number: Its number; None if none has come.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._came, self._waits, self._owner = 0.0, True, os.getpid()
        self._former: dict[int, Any] = {}

    def act(self, *, number: int = signal.SIGTERM) -> None:
        """Let the signal that has come do what it does otherwise, or the signal of this number if none has come."""
        came, self.number = self.number or number, None
        self._restore()
        signal.raise_signal(came)

    def put_off(self) -> None:
        """Begin to put signals off, except those that are ignored; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in STOPS}
            self._former = {number: how for number, how in found.items() if how not in (signal.SIG_IGN, None)}
            for number in self._former:
                signal.signal(number, self._note)

    def end(self) -> None:
        """Put signals off no longer; a signal that has come acts now."""
        self._restore()
        if self.number is not None:
            self.act()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            outlast(number)  # a worker that was forked meanwhile
        elif self.number is None:
            self.number, self._came = number, time.monotonic()
            start_new_thread(self._insist, (number,))  # takes no lock, which the interrupted code might hold
        elif time.monotonic() - self._came > PASSED_ON:
            self.act()

    def _insist(self, number: int) -> None:
        time.sleep(LONGEST)
        if self._waits:
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        self._waits = False
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}


@contextmanager
def signals_put_off(wanted: bool = True) -> Iterator[Interruption]:
    """Put off the signals that stop the program, for the context, and yield what tells whether one has come.

    One that has come acts at the end of the context at the latest, after `LONGEST` seconds, or when it comes again.

    Args:
        wanted: Whether to put them off at all.
    """
    interruption = Interruption()
    if wanted:
        interruption.put_off()
    try:
        yield interruption
    finally:
        interruption.end()


def outlast(number: int = signal.SIGTERM) -> None:
    """Let a worker live on for `LONGEST` seconds after a signal, so that its parent can end what is under way."""
    if number == signal.SIGTERM and hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LONGEST)


def outlast_signals(worker: int) -> None:
    """Prepare a worker process for signals that all processes of a group receive; see `outlast`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: outlast(number))
