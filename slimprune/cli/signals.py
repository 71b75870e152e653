"""Signals that stop the program; imports nothing heavy, since they may come while the heavy libraries are imported."""

import os
import signal
from types import FrameType

from slimprune.interruption import STOPS

STOPPED = tuple(128 + number for number in STOPS)
"""Exit codes of a command that a signal stopped."""


class Stopped(KeyboardInterrupt):
    """A signal that stops a command; `exit_code` is 128 and its number, as a shell reports it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class _Stops:
    """What the next signal does: it raises `Stopped` once while a command runs, and ends the process otherwise."""

    raises = False


def watch() -> None:
    """Handle the signals that stop the program, except those that its caller ignores, as nohup does SIGHUP."""
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def begin() -> None:
    """Let the next signal raise `Stopped`, so that a command can finish what it writes."""
    _Stops.raises = True


def end() -> None:
    """Let the next signal end the process at once, since the command is finished."""
    _Stops.raises = False


def _stop(number: int, frame: FrameType | None) -> None:
    if _Stops.raises:
        _Stops.raises = False
        raise Stopped(number)
    # Nothing is half-written here: no command has begun, or the user insists and a kill is survived anyway.
    os.write(2, b"error: interrupted\n")
    os._exit(128 + number)
