"""Types shared by many modules: tasks, quantities, and the protocol by which long operations report progress."""

from typing import Literal, Protocol, get_args

AUTO = "auto"
BALANCED = "balanced"
"""Placeholder for a value that is chosen automatically."""

REMARK = "check"
"""Stage that a listener receives with something that users have to know before time is spent."""

TaskName = str
"""Name of a task; see `slimprune.tasks`."""
Quantity = Literal["params", "macs", "channels", "latency"]
Unit = Literal["channels", "weights"]
"""What is pruned: whole channels, which are removed, or single weights, which are held at zero."""
InputKind = Literal["unit", "normalized", "uint8"]
"""What a deployed file takes: pixels in 0..1, pixels that are already normalised, or bytes."""
WidthSearch = Literal["cross-entropy", "evolution"]
"""How the rule `learned` searches widths."""
Precision = Literal["fp32", "fp16", "int8"]
"""Numbers of a deployed file: 32-bit floats, 16-bit floats, or 8-bit integers."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


class Listener(Protocol):
    """A callable that receives progress reports; an exception that it raises stops the work."""

    def __call__(self, stage: str, done: int, total: int, note: str, /) -> None:
        """Report the progress of a stage.

        Args:
            stage: What is being done, in a word or two.
            done: How much of it is done, starting from 0.
            total: The total amount; equal to `done` once, at the end.
            note: Additional information, or "".
        """


def ignore(stage: str, done: int, total: int, note: str) -> None:
    """Do nothing; the listener for callers that need no progress reports."""


def under(stage: str, listener: Listener) -> Listener:
    """Return a listener that reports all progress as part of one stage, under its name."""
    return lambda _, done, total, note: listener(stage, done, total, note)
