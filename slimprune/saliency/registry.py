"""The protocol of a criterion, and the table of all criteria by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.problem import GATES, Problem


class Criterion(Protocol):
    """Scores channels; a frozen dataclass whose fields are the criterion's options.

    One that does not make sense of every gate names those of which it does in a class attribute `gates`.
    """

    @property
    def steps(self) -> int:
        """Inner training steps."""

    @property
    def batches_per_draw(self) -> int:
        """How many batches one draw needs."""

    @property
    def deterministic(self) -> bool:
        """Whether draws cannot differ: neither batches nor the seed change the scores."""

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Group id -> non-negative saliency [width] of one draw, larger = keep."""


@dataclass(frozen=True)
class Entry:
    """One registered criterion."""

    name: str
    description: str
    make: Callable[..., Criterion]
    options: tuple[str, ...]


_ENTRIES: dict[str, Entry] = {}


def register(name: str, description: str, **fixed: Any) -> Callable[[type], type]:
    """Class decorator: makes a criterion dataclass known as `name`, with the options in `fixed` set."""

    def add(criterion: type) -> type:
        options = tuple(field.name for field in fields(criterion) if field.name not in fixed)
        _ENTRIES[name] = Entry(name, description, lambda **chosen: criterion(**chosen, **fixed), options)
        return criterion

    return add


def criteria() -> list[Entry]:
    """All registered criteria, by name."""
    return sorted(_ENTRIES.values(), key=lambda entry: entry.name)


def check_gate(name: str, criterion: Criterion, gate: str) -> None:
    """Refuses a gate that there is not, or that is not among the `gates` of a criterion that has its own.

    Raises:
        UsageError: so it is.
    """
    known = getattr(criterion, "gates", GATES)
    if gate not in known:
        raise UsageError(f"expected a gate for {name} ({', '.join(known)}), got {gate!r}")


def make_criterion(name: str, **options: Any) -> Criterion:
    """The criterion called `name` with the given options.

    Raises:
        UsageError: unknown name, or an option that the criterion does not have.
    """
    if name not in _ENTRIES:
        raise UsageError(f"expected a criterion ({', '.join(sorted(_ENTRIES))}), got {name!r}")
    entry = _ENTRIES[name]
    for option in options:
        if option not in entry.options:
            known = ", ".join(entry.options) or "none"
            raise UsageError(f"criterion {name} has no option {option!r} (its options: {known})")
    return entry.make(**options)
