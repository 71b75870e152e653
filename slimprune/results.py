"""The results of a run, as one object and as the plain document that is written to disk."""

from dataclasses import dataclass
from typing import Any

from slimprune.budget import LATENCY, Cost, Plan
from slimprune.export import Calibration, OnnxCheck
from slimprune.files import (
    AccuraciesOutcome,
    Baseline,
    Compared,
    EarlyBirdOutcome,
    Facts,
    FurtherOutcome,
    LatencyRow,
    LayerWidth,
    Limit,
    MasksOutcome,
    MetricOutcome,
    MetricPart,
    OnnxOutcome,
    OnnxVerification,
    PrecisionOutcome,
    PrecisionsOutcome,
    PrecisionSpeed,
    ProofOutcome,
    ProtectedLayer,
    ReportDocument,
    RoundOutcome,
    ScoringOutcome,
    SearchOutcome,
    SecondCount,
    SharingOutcome,
    TrainingOutcome,
    adapter,
)
from slimprune.graph import Proof
from slimprune.masks import LayerSparsity
from slimprune.recipe import ResolvedRecipe
from slimprune.scale import SHARES, Scale
from slimprune.training import TrainResult
from slimprune.types import Precision, Quantity

NEAR = 0.05
"""Relative error up to which a measured latency counts as meeting the request."""


@dataclass(frozen=True)
class Picture:
    """A picture saved next to the report.

    Attributes:
        title: One sentence.
        file: Path relative to the report's folder.
    """

    title: str
    file: str


@dataclass(frozen=True)
class Saliency:
    """How the channels were scored.

    Attributes:
        criterion: Name of the criterion.
        steps: Number of inner training steps.
        draws: Number of independent draws that were averaged.
        stability: Expected Spearman correlation, over all channels, of the scores with those of very many draws; None
            for one draw.
        seconds: Wall-clock time of the scoring.
        peak_bytes: Peak memory of the scoring; see `measure.PeakMemory`.
    """

    criterion: str
    steps: int
    draws: int
    stability: float | None
    seconds: float
    peak_bytes: int

    def to_json(self) -> ScoringOutcome:
        """Return the plain form for JSON."""
        plain: ScoringOutcome = adapter(Saliency).dump_python(self, mode="json")
        return plain


@dataclass(frozen=True)
class SearchTrial:
    """One short training of a prospect search.

    Attributes:
        rule: Allocation rule that was tried.
        epochs: Epochs of the training, whose learning-rate schedule ran to its end.
        loss: Mean training loss of the last epoch.
        params: Parameters of the candidate.
        macs: Multiply-accumulates of the candidate.
    """

    rule: str
    epochs: int
    loss: float
    params: int
    macs: int


@dataclass(frozen=True)
class Search:
    """How the allocation rule was found by short trainings.

    Attributes:
        rule: Rule that won.
        trials: All short trainings, in order.
        seconds: Wall-clock time of the search; if it was resumed, the time since then.
    """

    rule: str
    trials: tuple[SearchTrial, ...]
    seconds: float

    @property
    def epochs(self) -> int:
        """Epochs of all trials together."""
        return sum(trial.epochs for trial in self.trials)

    def to_json(self) -> SearchOutcome:
        """Return the plain form for JSON."""
        return {
            "rule": self.rule,
            "trials": adapter(tuple[SearchTrial, ...]).dump_python(self.trials, mode="json"),
            "seconds": self.seconds,
            "epochs": self.epochs,
        }


@dataclass(frozen=True)
class EarlyBird:
    """Where an Early-Bird ticket was drawn.

    Attributes:
        epoch: Epoch of the training after which channels were removed.
        distances: Shares of all channels that only one of two epochs in a row would keep, from the second epoch on.
        mask_distance: Distance below which the last ones had to be.
    """

    epoch: int
    distances: tuple[float, ...]
    mask_distance: float

    def to_json(self) -> EarlyBirdOutcome:
        """Return the plain form for JSON."""
        return {"epoch": self.epoch, "distances": list(self.distances), "mask_distance": self.mask_distance}


@dataclass(frozen=True)
class Sharing:
    """How the widths were found by weight sharing.

    Attributes:
        rule: Rule that gives the widths; `uniform` if none were better.
        search: How widths were searched, `cross-entropy` or `evolution`.
        training: Epochs in which the shared weights were trained.
        evaluations: Number of evaluated width vectors.
        images: Images of one evaluation, held out from the training.
        epoch_images: Training images of one epoch.
        loss: Loss of the best widths with shared weights, on other images that were held out.
        uniform_loss: Loss of uniform widths on the same images.
        generations: Least loss in each generation of the search.
        seconds: Wall-clock time; if the search was resumed, the time since then.
    """

    rule: str
    search: str
    training: int
    evaluations: int
    images: int
    epoch_images: int
    loss: float
    uniform_loss: float
    generations: tuple[float, ...]
    seconds: float

    @property
    def epochs(self) -> float:
        """Cost in epochs of training at the budget; an image that is evaluated costs a third of one that is trained."""
        return self.training + self.evaluations * self.images / (3 * self.epoch_images)

    def to_json(self) -> SharingOutcome:
        """Return the plain form for JSON."""
        plain: SharingOutcome = adapter(Sharing).dump_python(self, mode="json")
        return {**plain, "epochs": round(self.epochs, 2)}


@dataclass(frozen=True)
class Accuracies:
    """The metric of networks with trained weights before the slim one is fine-tuned, in [0, 1].

    Attributes:
        metric: Name of the metric.
        dense: Dense network with its trained weights.
        pruned: Slim network just after the removal, with batch norm statistics estimated again; None if it does not
            inherit the trained weights.
        reconstructed: Slim network after the layers behind removed channels were solved anew; None if they were not.
        solved: Number of layers that have new weights.
        left_out: Number of layers behind removed channels that keep their weights, because the new ones would not be
            better or cannot be computed.
    """

    metric: str
    dense: float
    pruned: float | None = None
    reconstructed: float | None = None
    solved: int = 0
    left_out: int = 0

    def to_json(self) -> AccuraciesOutcome:
        """Return the plain form for JSON."""
        plain: AccuraciesOutcome = adapter(Accuracies).dump_python(self, mode="json")
        return plain


@dataclass(frozen=True)
class Round:
    """One round of pruning and fine-tuning.

    Attributes:
        removed: Share of the budgeted quantity of the dense network that is gone after it.
        pruned: Metric just after the removal, in [0, 1], with batch norm statistics estimated again.
        reconstructed: Metric after the layers behind removed channels were solved anew; None if they were not.
        epochs: Epochs of fine-tuning.
        fine_tuned: Metric after them.
    """

    removed: float
    pruned: float | None
    reconstructed: float | None
    epochs: int
    fine_tuned: float

    def to_json(self) -> RoundOutcome:
        """Return the plain form for JSON."""
        plain: RoundOutcome = adapter(Round).dump_python(self, mode="json")
        return plain


@dataclass(frozen=True)
class Masks:
    """What masks of single weights leave of a network, whose channels all stay.

    Attributes:
        rule: How the weights that stay are divided among the layers.
        layers: Every convolution and linear layer, in the model's order.
    """

    rule: str
    layers: tuple[LayerSparsity, ...]

    @property
    def weights(self) -> int:
        """Number of weights of all layers, biases and norms apart."""
        return sum(layer.weights for layer in self.layers)

    @property
    def kept(self) -> int:
        """Number of those that are not masked."""
        return sum(layer.kept for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers for one sample."""
        return sum(layer.macs for layer in self.layers)

    @property
    def sparse_macs(self) -> int:
        """Those in which a weight that stays is a factor."""
        return sum(layer.sparse_macs for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of the weights that are masked."""
        return 1 - self.kept / self.weights

    @property
    def empty(self) -> list[str]:
        """Names of the layers whose weights are all masked."""
        return [layer.layer for layer in self.layers if layer.kept == 0]

    @property
    def without_weights(self) -> str | None:
        """A sentence that names the layers whose weights are all masked; None if there are none."""
        if not (empty := self.empty):
            return None
        count = f"{len(empty)} of {len(self.layers)} layers"
        return f"no weight is left in {count}, whose outputs depend on no input any more: {', '.join(empty)}"

    def to_json(self) -> MasksOutcome:
        """Return the plain form for JSON."""
        return {
            "rule": self.rule,
            "weights": self.weights,
            "kept": self.kept,
            "sparsity": self.sparsity,
            "macs": self.macs,
            "sparse_macs": self.sparse_macs,
            "layers": [
                {
                    "layer": layer.layer,
                    "weights": layer.weights,
                    "kept": layer.kept,
                    "sparsity": layer.sparsity,
                    "macs": layer.macs,
                    "sparse_macs": layer.sparse_macs,
                }
                for layer in self.layers
            ],
            "empty": self.empty,
        }


@dataclass(frozen=True)
class Judged:
    """What networks are trained for and judged by.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        scale: How values of the metric are read.
        reads: How an output is read; see `slimprune.tasks.Task`.
    """

    task: str
    metric: str
    scale: Scale
    reads: str = "other"

    def to_json(self) -> MetricOutcome:
        """Return the plain form for JSON."""
        return {
            "task": self.task,
            "reads": self.reads,
            "name": self.metric,
            "unit": self.scale.unit,
            "higher_is_better": self.scale.higher_is_better,
        }


@dataclass(frozen=True)
class DeployedFile:
    """One ONNX file of a run: its size, accuracy and speed.

    Attributes:
        precision: Numbers of the file.
        name: Name of the file.
        bytes: Size of the file.
        zstd_bytes: Size of the file after compression by Zstandard.
        accuracy: Metric on all test samples in onnxruntime.
        check: Comparison of the file with the torch model.
        calibration: How the ranges of int8 were chosen; None for others.
        speed: Paired times beside the file of 32-bit floats, one entry per batch size.
    """

    precision: Precision
    name: str
    bytes: int
    zstd_bytes: int
    accuracy: float
    check: OnnxCheck
    calibration: Calibration | None = None
    speed: tuple[PrecisionSpeed, ...] = ()

    def to_json(self) -> PrecisionOutcome:
        """Return the plain form for JSON."""
        return {
            "precision": self.precision,
            "file": self.name,
            "bytes": self.bytes,
            "zstd_bytes": self.zstd_bytes,
            "accuracy": self.accuracy,
            "agreement": self.check.top1_agreement,
            "samples": self.check.samples,
            "calibration": None
            if self.calibration is None
            else adapter(Calibration).dump_python(self.calibration, mode="json"),
            "speed": list(self.speed),
        }


@dataclass(frozen=True)
class Precisions:
    """The ONNX files of a run in their precisions.

    Attributes:
        metric: Name of the metric.
        max_loss: Loss of the metric, see `Scale.loss`, up to which it is not worth a warning.
        files: The files, the one of 32-bit floats first.
        scale: How values of the metric are read.
    """

    metric: str
    max_loss: float
    files: tuple[DeployedFile, ...]
    scale: Scale = SHARES

    @property
    def losses(self) -> list[str]:
        """One sentence for every file that loses too much."""
        first, scale = self.files[0].accuracy, self.scale
        points = scale.points or " %"
        return [
            f"{file.precision} loses {lost:.2f}{points} of {self.metric} on the whole test set: {file.name} has "
            f"{scale.shown(file.accuracy)}, fp32 {scale.shown(first)}; --max-loss is {self.max_loss:g}"
            for file in self.files[1:]
            if (lost := scale.loss(file.accuracy, first)) > self.max_loss
        ]

    def to_json(self) -> PrecisionsOutcome:
        """Return the plain form for JSON."""
        return {"metric": self.metric, "max_loss": self.max_loss, "files": [file.to_json() for file in self.files]}


@dataclass(frozen=True)
class Measured:
    """The costs of one network, counted on the network itself.

    Attributes:
        cost: Parameters, MACs and channels.
        weight_bytes: Bytes of parameters and persistent buffers.
    """

    cost: Cost
    weight_bytes: int


@dataclass(frozen=True)
class SecondOpinion:
    """The MACs of both networks as fvcore counts them, by other formulas on another graph.

    Attributes:
        dense: MACs of the dense network; None if fvcore cannot trace it.
        slim: MACs of the slim network; None if fvcore cannot trace it.
        note: Why fvcore cannot trace a network; None if it can trace both.
    """

    dense: int | None
    slim: int | None
    note: str | None = None

    def to_json(self) -> SecondCount:
        """Return the plain form for JSON."""
        return {"dense": self.dense, "slim": self.slim, "note": self.note}


@dataclass(frozen=True, eq=False)
class Report:
    """All results of a run; parts that did not run are None.

    Attributes:
        recipe: Settings, with defaults filled in.
        environment: Device, threads and versions.
        plan: Plan of the channels to keep.
        layers: Names of all modules, in the model's order.
        dense: Costs of the dense network.
        slim: Costs of the slim network; with masks, of the weights that are not masked.
        proof: Proof of the removal; None if no channel was removed.
        fvcore: MACs of both networks by a second count.
        saliency: How the channels were scored.
        search: How the allocation rule was found, if it was searched for.
        early_bird: Where the ticket was drawn, if channels were removed in the course of the training.
        sharing: How the widths were found by weight sharing, if they were.
        masks: What masks of single weights leave; None if channels were removed.
        accuracies: Metric of the dense and of the slim network before fine-tuning, if the weights were trained.
        rounds: Rounds of pruning and fine-tuning, if there were several; `accuracies` and `training` are of the last.
        training: Training of the slim network.
        dense_training: Training of the dense network, by the same recipe.
        onnx: Verification of the ONNX file.
        onnx_bytes: Size of the ONNX file in bytes.
        precisions: The ONNX files in all their precisions, if there are lower ones.
        notes: Options without effect.
        without_weights: Parameters that were not taken from the given weights.
        frozen: Parameters of the slim network that are not trained.
        pictures: Pictures of the networks' outputs for test images.
        judged: Task and metric.
        seconds: Wall-clock time of the run.
    """

    recipe: ResolvedRecipe
    environment: Facts
    plan: Plan
    layers: tuple[str, ...]
    dense: Measured
    slim: Measured
    proof: Proof | None
    fvcore: SecondOpinion | None = None
    saliency: Saliency | None = None
    search: Search | None = None
    early_bird: EarlyBird | None = None
    sharing: Sharing | None = None
    masks: Masks | None = None
    accuracies: Accuracies | None = None
    rounds: tuple[Round, ...] = ()
    training: TrainResult | None = None
    dense_training: TrainResult | None = None
    onnx: OnnxCheck | None = None
    onnx_bytes: int | None = None
    precisions: Precisions | None = None
    notes: tuple[str, ...] = ()
    without_weights: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    judged: Judged | None = None
    seconds: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """Sentences that every reader of the figures must see, losses by a lower precision first."""
        found = [*(self.precisions.losses if self.precisions is not None else ()), *self.notes]
        if self.masks is not None and (sentence := self.masks.without_weights) is not None:
            found.insert(0, sentence)
        if self.saliency is not None and self.saliency.stability is not None and self.saliency.stability < 0.3:
            found.append(
                f"the ranking of channels is mostly noise (stability {self.saliency.stability:.2f}): "
                "more --draws or a larger --score-batch settle it"
            )
        if self.without_weights:
            given = self.recipe.weights or "the pretrained weights"
            found.append(f"not from {given}, so drawn at random: {', '.join(self.without_weights)}")
        elif self.recipe.reset_head:
            found.append("reset_head has no effect: the head of the given weights fits the classes of the data")
        if self.frozen:
            found.append(f"frozen, so slimmed but not trained: {', '.join(self.frozen)}")
        found += self._latency_warnings()
        predicted, counted = self.plan.slim.macs, self.slim.cost.macs
        if differ(predicted, counted):
            found.append(f"the plan predicts {predicted:,} MACs, the slim network takes {counted:,}")
        return found + self._fvcore_warnings()

    def to_json(self) -> ReportDocument:
        """Return the document `report.json`, whose JSON schema is `slimprune.files.report_schema()`."""
        budget = self.plan.budget
        recipe: Any = {**self.recipe.model_dump(mode="json"), "hash": self.recipe.hash}
        judged: MetricPart = {} if self.judged is None else {"metric": self.judged.to_json()}
        return {
            **judged,
            "schema_version": 1,
            "recipe": recipe,
            "environment": dict(self.environment),
            "channels": self._compared("channels"),
            "params": self._compared("params"),
            "macs": self._compared("macs"),
            "fvcore_macs": None if self.fvcore is None else self.fvcore.to_json(),
            "weight_bytes": {"dense": self.dense.weight_bytes, "slim": self.slim.weight_bytes},
            "budget": {
                **self._budgeted(budget.of),
                "also": [self._budgeted(quantity) for quantity in budget.also],
            },
            "rule": self.plan.rule,
            "timing": None if self.plan.timing is None else self.plan.timing.to_json(),
            "widths": self._widths(),
            "masks": None if self.masks is None else self.masks.to_json(),
            "protected": self._protected(),
            "proof": None if self.proof is None else _proof(self.proof),
            "saliency": None if self.saliency is None else self.saliency.to_json(),
            "search": None if self.search is None else self.search.to_json(),
            "early_bird": None if self.early_bird is None else self.early_bird.to_json(),
            "sharing": None if self.sharing is None else self.sharing.to_json(),
            "accuracies": None if self.accuracies is None else self.accuracies.to_json(),
            "rounds": [one.to_json() for one in self.rounds],
            "training": None if self.training is None else _training(self.training),
            "onnx": self._onnx(),
            "precisions": None if self.precisions is None else self.precisions.to_json(),
            "latency": self._latency_rows(),
            "baselines": self._baselines(),
            "pictures": [{"title": picture.title, "file": picture.file} for picture in self.pictures],
            "warnings": self.warnings,
            "seconds": self.seconds,
        }

    def _protected(self) -> list[ProtectedLayer]:
        if self.masks is not None:
            reasons = [(layer.layer, layer.protected_reason) for layer in self.masks.layers]
        else:
            groups = self.plan.groups
            reasons = [(name, group.protected_reason) for group in groups for name in group.layers or (group.id,)]
        return [{"layer": layer, "reason": reason} for layer, reason in reasons if reason is not None]

    def _fvcore_warnings(self) -> list[str]:
        if self.fvcore is None:
            return []
        networks = (("dense", self.dense, self.fvcore.dense), ("slim", self.slim, self.fvcore.slim))
        return [
            f"the {name} network takes {own.cost.macs:,} MACs, fvcore counts {second:,}"
            for name, own, second in networks
            if second is not None and differ(second, own.cost.macs)
        ]

    def _latency_warnings(self) -> list[str]:
        timing, budget = self.plan.timing, self.plan.budget
        if timing is None or timing.trial is None:
            return []
        asked, reached = budget.ratios[LATENCY], timing.trial.removed
        missed = (1 - reached) / (1 - asked) - 1
        if abs(missed) <= NEAR or (missed < 0 and len(budget.ratios) > 1):
            return []
        return [
            f"{asked:.1%} of latency was asked to go, {reached:.1%} went by measurement: the closest of "
            f"{len(timing.trials)} plans that were timed as a whole"
        ]

    def _budgeted(self, quantity: Quantity) -> Limit:
        achieved = 1 - self.plan.slim.of(quantity) / self.plan.dense.of(quantity)
        if self.masks is not None:
            achieved = self.masks.sparsity
        limit: Limit = {"quantity": quantity, "requested": self.plan.budget.ratios[quantity], "achieved": achieved}
        timing = self.plan.timing
        if quantity != LATENCY or timing is None or timing.trial is None:
            return limit
        row = timing.trial.row
        return {
            **limit,
            "interval": list(timing.trial.interval),
            "dense_ms": row["dense_ms"],
            "slim_ms": row["slim_ms"],
            "pairs": row["pairs"],
            "engine": timing.engine,
            "version": timing.version,
            "device": timing.device,
            "threads": timing.threads,
            "batch": timing.batch,
        }

    def _latency_rows(self) -> list[LatencyRow]:
        trial = None if self.plan.timing is None else self.plan.timing.trial
        return [] if trial is None else [{**trial.row, "against": "dense"}]

    def _compared(self, quantity: Quantity) -> Compared:
        dense, slim = self.dense.cost.of(quantity), self.slim.cost.of(quantity)
        return {"dense": dense, "slim": slim, "removed": 1 - slim / dense}

    def _widths(self) -> list[LayerWidth]:
        kept = self.plan.widths
        rows: list[LayerWidth] = [
            {"group": group.id, "layer": layer, "dense": group.width, "slim": kept[group.id]}
            for group in self.plan.groups
            for layer in group.layers
        ]
        return sorted(rows, key=lambda row: self.layers.index(row["layer"]))

    def _baselines(self) -> list[Baseline]:
        return [] if self.dense_training is None else [{"name": "dense", **_training(self.dense_training)}]

    def _onnx(self) -> OnnxOutcome | None:
        if self.onnx is None or self.onnx_bytes is None:
            return None
        return {**check_to_json(self.onnx), "path": self.onnx.path.name, "bytes": self.onnx_bytes}


def _proof(proof: Proof) -> ProofOutcome:
    return {
        "max_rel_diff": proof.max_rel_diff,
        "tolerance": proof.tolerance,
        "passed": proof.passed,
        "structural_groups": list(proof.structural),
        "constants": list(proof.constants),
        "statistics": list(proof.statistics),
    }


def differ(macs: int, others: int) -> bool:
    """Return whether two counts of MACs differ by more than a thousandth, which rounding cannot explain."""
    return abs(macs - others) > 0.001 * others


def check_to_json(check: OnnxCheck) -> OnnxVerification:
    """Return the plain form of a verification."""
    verification: OnnxVerification = {
        "path": str(check.path),
        "opset": check.opset,
        "max_abs_diff": check.max_abs_diff,
        "top1_agreement": check.top1_agreement,
        "samples": check.samples,
        "batches": list(check.batches),
        "size_step": check.size_step,
        "sizes": [list(size) for size in check.sizes],
    }
    if check.precision != "fp32":
        verification["precision"] = check.precision
    return {**verification, "noise": True} if check.noise else verification


def further_to_json(result: TrainResult) -> list[FurtherOutcome]:
    """Return the further metrics of a training in plain form."""
    return [
        {
            "name": one.name,
            "unit": one.scale.unit,
            "higher_is_better": one.scale.higher_is_better,
            "final": one.value,
        }
        for one in result.further
    ]


def _training(result: TrainResult) -> TrainingOutcome:
    training: TrainingOutcome = {
        "epochs": result.epochs,
        "best": result.best,
        "final": result.final,
        "seconds": result.seconds,
        "history": {
            "epoch": [record.epoch for record in result.history],
            "lr": [record.lr for record in result.history],
            "train_loss": [record.train_loss for record in result.history],
            "test_metric": [record.test_metric for record in result.history],
        },
    }
    if result.validation is not None:
        training["validation"] = result.validation
    if result.further:
        training["further"] = further_to_json(result)
    if result.metric == "top1":
        return {**training, "top1": result.final}
    return {**training, "miou": result.final} if result.metric == "miou" else training
