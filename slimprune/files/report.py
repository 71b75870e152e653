"""The document of `compress` and `plan`: `report.json`."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator
from typing_extensions import TypedDict

from slimprune.files.latency import Facts, LatencyRow
from slimprune.types import Quantity


class Compared(TypedDict):
    """A count for both networks, and the share that was removed."""

    dense: int
    slim: int
    removed: float


class SecondCount(TypedDict):
    """MACs as counted by fvcore; None where it cannot count them, with a note that gives the reason."""

    dense: int | None
    slim: int | None
    note: str | None


class Sizes(TypedDict):
    """Sizes of both networks in bytes."""

    dense: int
    slim: int


class Limit(TypedDict):
    """One limit of the budget: the requested and the achieved share to remove.

    If its latency was measured, the limit also has the interval of the share and the conditions of the measurement.
    """

    quantity: Quantity
    requested: float
    achieved: float
    interval: NotRequired[list[float]]
    dense_ms: NotRequired[float]
    slim_ms: NotRequired[float]
    pairs: NotRequired[int]
    engine: NotRequired[str]
    version: NotRequired[str]
    device: NotRequired[str]
    threads: NotRequired[int]
    batch: NotRequired[int]


class LimitedBudget(Limit):
    """The first limit of the budget, with the others in `also`."""

    also: list[Limit]


class RoundingChoice(TypedDict):
    """The chosen number of which widths are multiples, and why it was chosen."""

    round_to: int
    reason: str
    candidates: list[dict[str, int]]


class TimedPlan(TypedDict):
    """A plan whose whole network was timed; `predicted` is the share of latency that it was expected to remove."""

    predicted: float
    row: LatencyRow


class PlanTiming(TypedDict):
    """The measurements made for the plan, and the machine on which they were made."""

    engine: str
    version: str
    device: str
    threads: int
    batch: int
    rounding: RoundingChoice | None
    trials: list[TimedPlan]
    chosen: int | None


class LayerWidth(TypedDict):
    """Numbers of channels of one layer."""

    group: str
    layer: str
    dense: int
    slim: int


class MaskedLayer(TypedDict):
    """The weights of one layer that are not masked; see `masks.LayerSparsity`."""

    layer: str
    weights: int
    kept: int
    sparsity: float
    macs: int
    sparse_macs: int


class MasksOutcome(TypedDict):
    """What masks of single weights leave of convolutions and linear layers; all channels stay.

    `macs` are the multiply-accumulates of these layers, `sparse_macs` those in which a weight that is not masked is a
    factor. Only an engine for sparse weights could skip the others. `empty` names the layers without weights.
    """

    rule: str
    weights: int
    kept: int
    sparsity: float
    macs: int
    sparse_macs: int
    layers: list[MaskedLayer]
    empty: list[str]


class ProtectedLayer(TypedDict):
    """A layer that keeps all its channels, and the reason."""

    layer: str
    reason: str


class ProofOutcome(TypedDict):
    """The result of the proof of the removal."""

    max_rel_diff: float
    tolerance: float
    passed: bool
    structural_groups: list[str]
    constants: NotRequired[list[str]]
    statistics: NotRequired[list[str]]


class ScoringOutcome(TypedDict):
    """How the channels were scored; see `results.Saliency`."""

    criterion: str
    steps: int
    draws: int
    stability: float | None
    seconds: float
    peak_bytes: int
    layer_agreement: NotRequired[float | None]


class SearchTrialOutcome(TypedDict):
    """One short training of a search; see `results.SearchTrial`."""

    rule: str
    epochs: int
    loss: float
    params: int
    macs: int


class SearchOutcome(TypedDict):
    """How the allocation rule was found; see `results.Search`."""

    rule: str
    trials: list[SearchTrialOutcome]
    epochs: int
    seconds: float


class EarlyBirdOutcome(TypedDict):
    """Where an Early-Bird ticket was drawn; see `results.EarlyBird`."""

    epoch: int
    distances: list[float]
    mask_distance: float


class SharingOutcome(TypedDict):
    """How the widths were found by weight sharing; see `results.Sharing`."""

    rule: str
    search: NotRequired[str]
    training: int
    evaluations: int
    images: int
    epoch_images: int
    loss: float
    uniform_loss: float
    generations: list[float]
    seconds: float
    epochs: NotRequired[float]


class MetricOutcome(TypedDict):
    """Task and metric: `unit` is "%" for a share in [0, 1], which is shown in percent, "dB", or "" for a number.

    `reads` says how an output is read; see `slimprune.tasks.Task`.
    """

    task: str
    reads: str
    name: str
    unit: Literal["%", "dB", ""]
    higher_is_better: bool


class MetricPart(TypedDict):
    """The part of a report that says what its metric is; files of earlier versions, which lack it, state shares."""

    metric: NotRequired[MetricOutcome]


class FurtherOutcome(TypedDict):
    """A metric beside the one that networks are judged by; see `MetricOutcome`."""

    name: str
    unit: Literal["%", "dB", ""]
    higher_is_better: bool
    final: float


class TrainingHistory(TypedDict):
    """Lists with one value per epoch."""

    epoch: list[int]
    lr: list[float]
    train_loss: list[float]
    test_metric: list[float]


class TrainingOutcome(TypedDict):
    """A training; `final` also appears under the name of the metric if that is top1 or miou.

    How metrics are read is stated by `metric` of the whole report; without it they are shares in [0, 1].

    With `validation`, the metric after the last epoch on training images that were held out, `best` and the history are
    of these images too, otherwise of the test images.
    """

    epochs: int
    top1: NotRequired[float]
    miou: NotRequired[float]
    best: float
    final: float
    validation: NotRequired[float]
    further: NotRequired[list[FurtherOutcome]]
    seconds: float
    history: NotRequired[TrainingHistory]


class Baseline(TrainingOutcome):
    """Another training by the same recipe."""

    name: str


class AccuraciesOutcome(TypedDict):
    """Accuracies with trained weights before fine-tuning, shares in [0, 1]; see `results.Accuracies`."""

    metric: str
    dense: float
    pruned: float | None
    reconstructed: NotRequired[float | None]
    solved: NotRequired[int]
    left_out: NotRequired[int]


class RoundOutcome(TypedDict):
    """One round of pruning and fine-tuning, shares in [0, 1]; see `results.Round`."""

    removed: float
    pruned: float | None
    reconstructed: float | None
    epochs: int
    fine_tuned: float


class OnnxVerification(TypedDict):
    """The result of comparing an ONNX file with its source; see `export.OnnxCheck`."""

    path: str
    opset: int
    max_abs_diff: float
    top1_agreement: float
    samples: int
    batches: list[int]
    size_step: NotRequired[int | None]
    sizes: NotRequired[list[list[int]]]
    noise: NotRequired[bool]
    precision: NotRequired[str]


class OnnxOutcome(OnnxVerification):
    """The verification of the written ONNX file, and its size in bytes."""

    bytes: int


class PrecisionSpeed(TypedDict):
    """Paired times of a file of lower precision and the one of 32-bit floats, in milliseconds per batch.

    `speedup` is how many times as fast the file of lower precision is, with its `interval`; `disturbed` is the share of
    the wall-clock time during which other work used the cores, which the times exclude.
    """

    engine: str
    version: str
    device: str
    threads: int
    batch: int
    fp32_ms: float
    ms: float
    speedup: float
    interval: list[float]
    confidence: float
    pairs: int
    verdict: str
    disturbed: float


class CalibrationOutcome(TypedDict):
    """How the ranges of int8 were chosen; see `export.Calibration`."""

    method: str
    images: int
    held_out: int
    agreement: float


class PrecisionOutcome(TypedDict):
    """One ONNX file: its size, the metric on all test samples in onnxruntime, and its speed beside 32-bit floats.

    `agreement` is the share of the torch model's predictions that the file makes too, on `samples` test samples.
    """

    precision: str
    file: str
    bytes: int
    zstd_bytes: int
    accuracy: float
    agreement: float
    samples: int
    calibration: CalibrationOutcome | None
    speed: list[PrecisionSpeed]


class PrecisionsOutcome(TypedDict):
    """The ONNX files of a run in their precisions, 32-bit floats first; `max_loss` is in points."""

    metric: str
    max_loss: float
    files: list[PrecisionOutcome]


def _beside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".png" or set(name) & {"\\", "\0"}:
        raise ValueError("Input should be the name of a PNG file in the report's folder")
    return name


class PictureFile(TypedDict):
    """A picture saved next to the report."""

    title: str
    file: Annotated[str, AfterValidator(_beside)]


class RecordedRecipe(TypedDict):
    """The fields of `Recipe`, of which only some are declared here, and the recipe's hash."""

    arch: str | None
    data: NotRequired[str]
    ratio: float
    of: Quantity
    criterion: NotRequired[str | None]
    when: NotRequired[str]
    twin: NotRequired[str | None]
    unit: NotRequired[str]
    epochs: NotRequired[int | None]
    rounds: NotRequired[int | None]
    prune_epoch: NotRequired[int | None]
    prune_from: NotRequired[int | None]
    prune_until: NotRequired[int | None]
    hash: NotRequired[str]


class ReportDocument(MetricPart):
    """All results of a run; parts that did not run are None.

    With `masks` no channel is removed: `widths` is empty, there is no `proof`, and the slim counts of parameters and
    MACs are those of the weights that are not masked.
    """

    schema_version: Literal[1]
    recipe: RecordedRecipe
    environment: Facts
    channels: Compared
    params: Compared
    macs: Compared
    fvcore_macs: NotRequired[SecondCount | None]
    weight_bytes: Sizes
    budget: LimitedBudget
    rule: str
    timing: NotRequired[PlanTiming | None]
    widths: list[LayerWidth]
    protected: list[ProtectedLayer]
    masks: NotRequired[MasksOutcome | None]
    proof: ProofOutcome | None
    saliency: ScoringOutcome | None
    search: SearchOutcome | None
    early_bird: NotRequired[EarlyBirdOutcome | None]
    sharing: NotRequired[SharingOutcome | None]
    accuracies: NotRequired[AccuraciesOutcome | None]
    rounds: NotRequired[list[RoundOutcome]]
    training: TrainingOutcome | None
    onnx: OnnxOutcome | None
    precisions: NotRequired[PrecisionsOutcome | None]
    latency: list[LatencyRow]
    baselines: list[Baseline]
    pictures: NotRequired[list[PictureFile]]
    warnings: list[str]
    seconds: float
