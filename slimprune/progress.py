"""How anything that takes long says what it is doing: one protocol for all of it."""

from typing import Protocol


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
