"""The rows of `slimprune list`; each kind imports only what it lists."""

from collections.abc import Callable, Mapping

from slimprune.errors import UsageError

Rows = list[tuple[str, str]]


def available(kind: str) -> Rows:
    """Return the names and descriptions of all choices of one kind.

    Raises:
        UsageError: If there is no list of that kind.
    """
    if kind not in LISTS:
        raise UsageError(f"expected a list ({', '.join(LISTS)}), got {kind!r}")
    return LISTS[kind]()


def _archs() -> Rows:
    from slimprune.models import ARCHITECTURES

    return ARCHITECTURES.rows()


def _data() -> Rows:
    from slimprune.data import data_sets

    return data_sets()


def _criteria() -> Rows:
    from slimprune.saliency import CRITERIA

    return sorted(CRITERIA.rows())


def _rules() -> Rows:
    from slimprune.budget import RULES

    return [*RULES.rows(), *_OTHER_RULES]


def _operators() -> Rows:
    from slimprune.graph import OPERATORS

    return sorted(OPERATORS.rows())


def _engines() -> Rows:
    from slimprune.timing import ENGINES

    return [(engine.name, engine.description) for engine in ENGINES.values()]


def _tasks() -> Rows:
    from slimprune.tasks import TASKS

    return TASKS.rows()


LISTS: Mapping[str, Callable[[], Rows]] = {
    "archs": _archs, "data": _data, "criteria": _criteria, "rules": _rules, "operators": _operators,
    "engines": _engines, "tasks": _tasks,
}  # fmt: skip
_OTHER_RULES = [
    (
        "profile:score=X,reuse=Y",
        "widths in proportion to dense width * (mean score) ** X * (uses of a weight) ** Y, X in 0..4, Y in -4..4",
    ),
    ("factors:A,B,...", "widths in proportion to dense width * a factor for each free group, as `learned` finds them"),
    ("adjusted", "widths moved to where a trained network of uniform widths needs its channels most"),
    ("learned", "widths of least loss in a network that is trained at random widths, which share its weights"),
    ("prospect", "widths of equal score per cost, by scores of a network that has been narrowed to the budget"),
    ("search", "the best of several profiles, tried out by short trainings in successive halving"),
]
