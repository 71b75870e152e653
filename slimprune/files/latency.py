"""Measured times: the rows of `compare_speed`, and the document of `bench` around them."""

from collections.abc import Mapping
from typing import Literal, NotRequired

from typing_extensions import TypedDict

Facts = Mapping[str, str | int | float | list[int] | list[float] | None]
"""Facts that are shown to readers unchanged, such as device, threads and versions."""


class Quartiles(TypedDict):
    """First and third quartile in milliseconds."""

    dense: list[float]
    slim: list[float]


class MacsReduction(TypedDict):
    """MACs of both networks, and the ratio of dense to slim."""

    dense: int
    slim: int
    reduction: float


class CudaCounts(TypedDict):
    """A count for both networks; None except for torch on CUDA."""

    dense: int | None
    slim: int | None


class LatencyRow(TypedDict):
    """One comparison of two networks with one engine and batch size; see `compare_speed` for the fields."""

    engine: str
    device: str
    batch: int
    threads: int
    version: str
    dense_ms: float
    slim_ms: float
    speedup: float
    iqr: Quartiles
    interval: list[float]
    confidence: float
    pairs: int
    verdict: str
    disturbed: float
    peak_bytes: NotRequired[CudaCounts]
    kernels: NotRequired[CudaCounts]
    macs: MacsReduction
    realised_share: float
    against: NotRequired[str]
    network: NotRequired[Literal["planned", "trained"]]


def latency_removed(speedup: float) -> float:
    """Return the share of the latency of one network that another, so many times faster, saves."""
    return 1 - 1 / speedup


class BenchInputs(TypedDict):
    """The inputs on which the networks were run."""

    shape: list[int]
    kind: str


class WithLatency(TypedDict):
    """Any document that holds measured times."""

    latency: list[LatencyRow]


class BenchDocument(WithLatency):
    """The document that `bench` writes."""

    schema_version: Literal[1]
    bundle: str
    arch: str | None
    against: str
    inputs: BenchInputs
    method: Facts
    environment: Facts
    macs: MacsReduction
