"""The document of `instability`: the error along the line between two trainings from one state."""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from slimprune.files.latency import Facts


class CurveOfSeed(TypedDict):
    """The curve of one seed; see `InstabilityCurve`."""

    seed: int
    errors: list[float]
    trained: list[float]
    instability: float
    distance: float


class CurveSpread(TypedDict):
    """Standard deviations over seeds (n - 1), of the errors at each place and of the instability."""

    errors: list[float]
    instability: float


class InstabilityCurve(TypedDict):
    """Two trainings that share their first `step` steps, after which the order of the data differs.

    `errors` are test errors as shares at the document's `places`, `trained` those of both networks as they were
    trained, `instability` the highest of `errors` less the mean of its ends, and `distance` is that of the weights.
    With several seeds these are means, `instability` that of the seeds' own ones.
    """

    step: int
    epoch: float
    errors: list[float]
    trained: list[float]
    instability: float
    distance: float
    spread: NotRequired[CurveSpread]
    by_seed: NotRequired[list[CurveOfSeed]]


class UnstableNetwork(TypedDict):
    """A network and its curves; `params` leaves out what is masked."""

    network: Literal["dense", "slim", "masked"]
    params: int
    epochs: int
    steps_per_epoch: int
    curves: list[InstabilityCurve]


class InstabilityDocument(TypedDict):
    """The document that `instability` writes.

    `places` are those on the lines, from 0 to 1. `statistics_images` is the number of training images from which the
    statistics of batch norm are estimated anew at each place, 0 for networks without. `seeds` are there if there are
    several, each with initial weights, masks and orders of its own.
    """

    schema_version: Literal[1]
    recipe: Mapping[str, Any]
    metric: str
    seeds: NotRequired[list[int]]
    places: list[float]
    statistics_images: int
    networks: list[UnstableNetwork]
    notes: list[str]
    environment: Facts
    seconds: float
