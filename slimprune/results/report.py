"""The results of a run, as one object and as the plain document that is written to disk."""

from dataclasses import dataclass
from typing import Any

from slimprune.budget import LATENCY, Plan
from slimprune.export import OnnxCheck
from slimprune.files import (
    Baseline,
    Compared,
    Facts,
    LatencyRow,
    LayerWidth,
    Limit,
    MetricPart,
    OnnxOutcome,
    ProofOutcome,
    ProtectedLayer,
    ReportDocument,
)
from slimprune.graph import Proof
from slimprune.recipe import ResolvedRecipe
from slimprune.results.accuracies import Accuracies, Round
from slimprune.results.deployed import Precisions, check_to_json
from slimprune.results.masks import Masks
from slimprune.results.measured import Measured, SecondOpinion
from slimprune.results.trained import Judged, training_to_json
from slimprune.results.warnings import (
    fvcore_warnings,
    latency_warnings,
    macs_warnings,
    scoring_warnings,
    weight_warnings,
)
from slimprune.results.widths import EarlyBird, Saliency, Search, Sharing
from slimprune.training import TrainResult
from slimprune.types import Quantity


@dataclass(frozen=True)
class Picture:
    """A picture saved next to the report.

    Attributes:
        title: One sentence.
        file: Path relative to the report's folder.
    """

    title: str
    file: str


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
        trained_latency: Time of the trained network beside the dense one, if the budget limits latency.
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
    trained_latency: LatencyRow | None = None
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
        return [
            *(() if self.masks is None or (empty := self.masks.without_weights) is None else (empty,)),
            *(() if self.precisions is None else self.precisions.losses),
            *self.notes,
            *scoring_warnings(self.saliency),
            *weight_warnings(self.recipe, self.without_weights, self.frozen),
            *latency_warnings(self.plan, self.trained_latency),
            *macs_warnings(self.plan, self.slim),
            *fvcore_warnings(self.fvcore, self.dense, self.slim),
        ]

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
            "training": None if self.training is None else training_to_json(self.training),
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
        planned: list[LatencyRow] = [] if trial is None else [{**trial.row, "against": "dense", "network": "planned"}]
        if self.trained_latency is None:
            return planned
        return [*planned, {**self.trained_latency, "against": "dense", "network": "trained"}]

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
        return [] if self.dense_training is None else [{"name": "dense", **training_to_json(self.dense_training)}]

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
