"""What can be chosen: the rows of `slimprune list`."""

from typing import Literal

from slimprune.budget import RULES
from slimprune.data import data_sets
from slimprune.graph import OPERATORS
from slimprune.models import ARCHITECTURES
from slimprune.pipeline.stages import SEARCH
from slimprune.saliency import CRITERIA
from slimprune.timing import ENGINES

Kind = Literal["archs", "data", "criteria", "rules", "operators", "engines"]


def available(kind: Kind) -> list[tuple[str, str]]:
    """Names and descriptions of what can be chosen."""
    return {
        "archs": ARCHITECTURES.rows(),
        "data": data_sets(),
        "criteria": sorted(CRITERIA.rows()),
        "rules": [*RULES.rows(), *_OTHER_RULES],
        "operators": sorted(OPERATORS.rows()),
        "engines": [(engine.name, engine.description) for engine in ENGINES.values()],
    }[kind]


_OTHER_RULES = [
    ("profile:score=X,reuse=Y", "widths in proportion to dense width * (mean score) ** X * (uses of a weight) ** Y"),
    (SEARCH, "the best of several profiles, tried out by short trainings in successive halving"),
]
