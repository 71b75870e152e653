"""Types that many parts share: tasks, quantities, and the protocol by which long work reports its progress."""

from typing import Literal, Protocol, get_args

AUTO = "auto"
"""In place of a value that is to be chosen."""

Task = Literal["classification", "segmentation"]
Quantity = Literal["params", "macs", "channels", "latency"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


class Listener(Protocol):
    """Called while work goes on; whatever it raises stops the work."""

    def __call__(self, stage: str, done: int, total: int, note: str, /) -> None:
        """Hear that so much of a stage is done.

        Args:
            stage: What is being done, in a word or two.
            done: How much of it, from 0.
            total: All of it; equal to `done` once, at the end.
            note: What there is to say beside it, or "".
        """


def ignore(stage: str, done: int, total: int, note: str) -> None:
    """Do nothing: a listener for those who do not want to hear."""


def under(stage: str, listener: Listener) -> Listener:
    """Pass on all that is heard as part of one stage, under its name."""
    return lambda _, done, total, note: listener(stage, done, total, note)
