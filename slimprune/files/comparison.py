"""The records of finished cells, and the document of `compare`: `compare.json`."""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from slimprune.files.latency import Facts
from slimprune.files.report import FurtherOutcome, ScoringOutcome

Kind = Literal["dense", "row", "uniform", "twin"]


class KeptShares(TypedDict):
    """Shares of the dense network that are kept, in (0, 1]."""

    channels: float
    params: float
    macs: float


class CellOutcome(TypedDict, total=False):
    """Results of a training and costs of its network; the metric as it is, wall-clock seconds.

    `further` are metrics of the test images beside `final`. `validation` is the metric on training images that were
    held out, None if there were none. `width_epochs` are the epochs that were trained to choose the widths, at about
    the cost of the slim network's. If single weights are masked, `weights_kept` has the number of the others by layer,
    `kept_by_layer` are the shares of the channels, or of the weights, of every layer that may lose some.
    `widths` is None, and `params` and `macs` leave out what is masked. `training` is a digest of the network before its
    training and of all that this depends on; cells that agree in it share one training. `refused` is the reason why
    there is no result.
    """

    final: float
    best: float
    validation: float | None
    further: list[FurtherOutcome]
    train_loss: float | None
    pruned: float | None
    reconstructed: float | None
    params: int
    macs: int
    channels: int
    training_seconds: float
    environment: Facts
    rule: str | None
    widths: Mapping[str, int] | None
    weights_kept: Mapping[str, int] | None
    kept_by_layer: Mapping[str, float]
    kept: KeptShares
    scoring: ScoringOutcome | None
    width_epochs: float
    epochs: int
    training: str
    refused: str


class CellPlace(TypedDict):
    """The place of a cell in the grid, and whether its row may be the winner."""

    row: str
    kind: Kind
    budget: str | None
    may_win: NotRequired[bool]


class MetricRead(TypedDict):
    """The name of a metric and how it is read; without `unit` its values are shares, of which more is better."""

    metric: str
    unit: NotRequired[Literal["%", "dB", ""]]
    higher_is_better: NotRequired[bool]


class CellRecord(CellPlace, CellOutcome, MetricRead):
    """A finished cell: its result, or in `refused` the reason why it has no result.

    `named_files` is a digest of the files that its recipe names.
    """

    seed: int
    hash: str
    recipe: Mapping[str, Any]
    named_files: NotRequired[str]


class PublishedFigure(TypedDict):
    """A result published in a paper, in percent."""

    row: str
    budget: str | None
    top1: float | None
    miou: float | None
    top5: NotRequired[float | None]
    source: str


class FurtherMean(TypedDict):
    """Mean and standard deviation of a further metric over seeds, shares in percent."""

    name: str
    unit: Literal["%", "dB", ""]
    higher_is_better: bool
    mean: float
    sd: float | None


class TableRow(TypedDict):
    """Means over the seeds that have a result; shares in percent and their differences in percentage points."""

    row: str
    kind: Kind
    n: int
    refused: str | None
    refused_seeds: NotRequired[list[int]]
    may_win: bool
    by_seed: dict[str, float]
    mean: float | None
    sd: float | None
    best: float | None
    validation: NotRequired[float | None]
    further: NotRequired[list[FurtherMean]]
    kept_by_layer: NotRequired[dict[str, float]]
    pruned: NotRequired[float | None]
    reconstructed: NotRequired[float | None]
    channels: float | None
    params: float | None
    macs: float | None
    scoring_seconds: float | None
    scoring_peak_bytes: int | None
    stability: float | None
    epochs: float | None
    training_seconds: float | None
    winner: bool
    paper: list[PublishedFigure]
    over_uniform_params: float | None
    over_uniform_macs: float | None


class ComparisonTable(TypedDict):
    """The rows at one budget and the conclusions drawn from them."""

    budget: str
    winner: str | None
    rows: list[TableRow]
    findings: list[str]


class ComparisonDocument(MetricRead):
    """The document that `compare` writes."""

    schema_version: Literal[1]
    title: str
    tables: list[ComparisonTable]
    environments: list[Facts]
    grid: Mapping[str, Any]
    cells: list[CellRecord]
