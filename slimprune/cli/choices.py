"""What can be chosen: the rows of `slimprune list`."""

from typing import Literal

from slimprune.budget import RULES
from slimprune.data import data_sets
from slimprune.models import architectures
from slimprune.pipeline.stages import SEARCH
from slimprune.saliency import criteria
from slimprune.timing import ENGINES


def available(kind: Literal["archs", "data", "criteria", "rules", "engines"]) -> list[tuple[str, str]]:
    """Names and descriptions of what can be chosen."""
    return {
        "archs": [(entry.name, entry.description) for entry in architectures()],
        "data": data_sets(),
        "criteria": [(entry.name, entry.description) for entry in criteria()],
        "rules": [*((rule.name, rule.description) for rule in RULES.values()), *_OTHER_RULES],
        "engines": [(engine.name, engine.description) for engine in ENGINES.values()],
    }[kind]


_OTHER_RULES = [
    ("profile:score=X,reuse=Y", "widths in proportion to dense width * (mean score) ** X * (uses of a weight) ** Y"),
    (SEARCH, "the best of several profiles, tried out by short trainings in successive halving"),
]
