"""The protocol of a criterion, and all criteria by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, cast, get_args

from torch import Tensor

from slimprune.errors import UsageError, kind_and_line
from slimprune.registry import Registry, description_of, kind_of
from slimprune.saliency.problem import GATES, Problem
from slimprune.types import Unit


class Criterion(Protocol):
    """A scorer of channels; a frozen dataclass whose fields are the criterion's options.

    A criterion that does not support every gate lists the supported ones in a class attribute `gates`, one that can
    score single weights has `units = UNITS`. One of whose
    scores only the order means something, not their ratios, has an attribute `ratios` that is false: rules then get
    ranks. One whose scores have a sign until the end subclasses `Signed`. One that takes second derivatives of the
    loss has an attribute `second_order` that is true: that they exist is then checked before anything is trained.
    """

    @property
    def steps(self) -> int:
        """Number of inner training steps."""

    @property
    def batches_per_draw(self) -> int:
        """Number of batches that one draw needs."""

    @property
    def deterministic(self) -> bool:
        """Whether all draws are equal: neither batches nor the seed change the scores."""

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return group id -> non-negative saliency [width] of one draw, larger = keep."""


@dataclass(frozen=True)
class KnownCriterion:
    """A criterion with a name.

    Attributes:
        name: Name that the user gives.
        description: One-line description for users.
        make: Constructor that takes options by name.
        options: Names of the options.
    """

    name: str
    description: str
    make: Callable[..., Criterion]
    options: tuple[str, ...]


Class = TypeVar("Class", bound=type)


def register(name: str, description: str, **fixed: Any) -> Callable[[Class], Class]:
    """Register the decorated criterion dataclass as `name`, with the options in `fixed` set.

    Raises:
        UsageError: If the name is taken or the class is not a criterion.
    """

    def add(criterion: Class) -> Class:
        CRITERIA.add(name, description, _known(name, description, criterion, fixed), module=criterion.__module__)
        return criterion

    return add


def criteria() -> list[KnownCriterion]:
    """Return all criteria that can be loaded, sorted by name."""
    return sorted(CRITERIA.available().values(), key=lambda known: known.name)


def find_criterion(name: str) -> KnownCriterion:
    """Return the criterion called `name`, or the class at `file.py:Class` or `package.module:Class`.

    Raises:
        UsageError: If there is no such criterion or its code fails.
    """
    return CRITERIA.find(name)


def check_gate(name: str, criterion: Criterion, gate: str) -> None:
    """Check that a gate exists and is among the `gates` of a criterion that limits them.

    Raises:
        UsageError: If the gate is unknown or the criterion does not support it.
    """
    known = getattr(criterion, "gates", GATES)
    if gate not in known:
        raise UsageError(f"expected a gate for {name} ({', '.join(known)}), got {gate!r}")


def check_unit(name: str, criterion: Criterion, unit: Unit) -> None:
    """Check that a criterion can score channels, or single weights.

    Raises:
        UsageError: If it cannot.
    """
    if unit not in getattr(criterion, "units", UNITS[:1]):
        known = sorted(known.name for known in criteria() if unit in getattr(known.make(), "units", UNITS[:1]))
        raise UsageError(f"expected a criterion that scores {unit} ({', '.join(known)}), got {name}")


def make_criterion(name: str, **options: Any) -> Criterion:
    """Return the criterion called `name` with the given options.

    Raises:
        UsageError: If the name is unknown, the criterion has no such option, or it rejects the options.
    """
    known = find_criterion(name)
    for option in options:
        if option not in known.options:
            listed = ", ".join(known.options) or "none"
            raise UsageError(f"criterion {name} has no option {option!r} (its options: {listed})")
    try:
        return known.make(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"criterion {name} cannot be made: {kind_and_line(error)}") from error


def _known(name: str, description: str, criterion: object, fixed: Mapping[str, Any]) -> KnownCriterion:
    if not isinstance(criterion, type) or not is_dataclass(criterion):
        raise UsageError(f"expected criterion {name} to be a dataclass, got {kind_of(criterion)}")
    own = {field.name for field in fields(criterion)}
    missing = [part for part in _PARTS if part not in own and not hasattr(criterion, part)]
    if missing:
        raise UsageError(f"expected criterion {name} to have {', '.join(_PARTS)}, found no {', '.join(missing)}")
    options = tuple(field.name for field in fields(criterion) if field.name not in fixed)
    return KnownCriterion(name, description, partial(cast(Callable[..., Criterion], criterion), **fixed), options)


UNITS: tuple[Unit, ...] = get_args(Unit)
"""What criteria may score: channels, which all of them do, and single weights."""

_PARTS = ("steps", "batches_per_draw", "deterministic", "score")

CRITERIA: Registry[KnownCriterion] = Registry(
    "a criterion",
    "slimprune.criteria",
    "a criterion class",
    lambda name, found: _known(name, description_of(found), found, {}),
)
