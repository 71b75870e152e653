"""The document of `compress` and `plan`: `report.json`."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from slimprune.files.latency import Facts, LatencyRow
from slimprune.types import Quantity


class Compared(TypedDict):
    """A count of both networks, and the share that is gone."""

    dense: int
    slim: int
    removed: float


class SecondCount(TypedDict):
    """MACs as fvcore counts them; None where it cannot, with a note that says why."""

    dense: int | None
    slim: int | None
    note: str | None


class Sizes(TypedDict):
    """Bytes of both networks."""

    dense: int
    slim: int


class Limit(TypedDict):
    """One limit of the budget: shares that were asked to go and that went.

    Where latency was measured for it, with the interval of the share and the circumstances.
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
    """The first limit, and the others."""

    also: list[Limit]


class RoundingChoice(TypedDict):
    """How the multiple of the widths was chosen."""

    round_to: int
    reason: str
    candidates: list[dict[str, int]]


class TimedPlan(TypedDict):
    """A plan that was timed as a whole; `predicted` is the share of latency that was expected to go."""

    predicted: float
    row: LatencyRow


class PlanTiming(TypedDict):
    """What was measured for the plan, on which machine."""

    engine: str
    version: str
    device: str
    threads: int
    batch: int
    rounding: RoundingChoice | None
    trials: list[TimedPlan]
    chosen: int | None


class LayerWidth(TypedDict):
    """Channels of one layer."""

    group: str
    layer: str
    dense: int
    slim: int


class ProtectedLayer(TypedDict):
    """A layer that stays whole, and why."""

    layer: str
    reason: str


class ProofOutcome(TypedDict):
    """The proof of the removal."""

    max_rel_diff: float
    tolerance: float
    passed: bool
    structural_groups: list[str]


class ScoringOutcome(TypedDict):
    """How the channels were scored; see `results.Saliency`."""

    criterion: str
    steps: int
    draws: int
    stability: float | None
    seconds: float
    peak_bytes: int


class SearchTrialOutcome(TypedDict):
    """One short training; see `results.SearchTrial`."""

    rule: str
    epochs: int
    loss: float
    params: int
    macs: int


class SearchOutcome(TypedDict):
    """How the rule was found."""

    rule: str
    trials: list[SearchTrialOutcome]
    epochs: int
    seconds: float


class TrainingHistory(TypedDict):
    """A list over the epochs for each."""

    epoch: list[int]
    lr: list[float]
    train_loss: list[float]
    test_metric: list[float]


class TrainingOutcome(TypedDict):
    """A training; the last value of the metric stands under the metric's own name as well, shares in [0, 1]."""

    epochs: int
    top1: NotRequired[float]
    miou: NotRequired[float]
    best: float
    final: float
    seconds: float
    history: NotRequired[TrainingHistory]


class Baseline(TrainingOutcome):
    """Another training by the same recipe."""

    name: str


class OnnxVerification(TypedDict):
    """What was found when an ONNX file was compared with its source; see `export.OnnxCheck`."""

    path: str
    opset: int
    max_abs_diff: float
    top1_agreement: float
    samples: int
    batches: list[int]
    size_step: NotRequired[int | None]
    sizes: NotRequired[list[list[int]]]


class OnnxOutcome(OnnxVerification):
    """The verification of the file that was written, and its size."""

    bytes: int


class PictureFile(TypedDict):
    """A picture beside the report."""

    title: str
    file: str


class RecordedRecipe(TypedDict):
    """The fields of `Recipe`, of which not all are named here, and the recipe's hash."""

    arch: str | None
    data: NotRequired[str]
    ratio: float
    of: Quantity
    hash: NotRequired[str]


class ReportDocument(TypedDict):
    """Everything a run found out; parts that did not run are None."""

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
    proof: ProofOutcome
    saliency: ScoringOutcome | None
    search: SearchOutcome | None
    training: TrainingOutcome | None
    onnx: OnnxOutcome | None
    latency: list[LatencyRow]
    baselines: list[Baseline]
    pictures: NotRequired[list[PictureFile]]
    warnings: list[str]
    seconds: float
