"""How a run says what it is doing: one callback, called with stage, done, total and a note."""

from collections.abc import Callable

Listener = Callable[[str, int, int, str], None]
"""Called with (stage, done, in all, note) while a run goes on."""


def ignore(stage: str, done: int, total: int, note: str) -> None:
    """A listener that does nothing."""
