"""Slim vision models: prune channels before training by meta-gradients, prove the surgery, train, export."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimprune.budget import Budget, Cost, CostModel, Costs, LatencyModel, Plan
    from slimprune.budget.allocate import allocate
    from slimprune.comparison.clusters import OnCluster
    from slimprune.comparison.compare import compare
    from slimprune.data import ImageData, TensorData
    from slimprune.data import load as load_data
    from slimprune.errors import (
        BudgetError,
        DataError,
        SlimpruneError,
        UnsupportedModelError,
        UsageError,
        VerificationError,
    )
    from slimprune.export import OnnxCheck, OnnxFile, export_onnx, verify_onnx
    from slimprune.files import BenchDocument, ComparisonDocument, LatencyRow, ReportDocument, report_schema
    from slimprune.forward import ForwardFn, Loss
    from slimprune.graph import ChannelGroup, Proof, find_groups
    from slimprune.measure import versions
    from slimprune.models import InputSpec, build
    from slimprune.pipeline.bench import bench
    from slimprune.pipeline.compress import compress
    from slimprune.pipeline.inspect import inspect
    from slimprune.pipeline.latency import latency_model
    from slimprune.pipeline.prune import prune
    from slimprune.prediction import ClassProbability, Prediction, predict
    from slimprune.preprocessing import Preprocessing
    from slimprune.ranks.group import Ranks, process_group
    from slimprune.recipe import Recipe, RecipeSettings
    from slimprune.report import Inspection
    from slimprune.results import Report
    from slimprune.saliency import Criterion, Problem, Scores, Target
    from slimprune.saliency.score import score
    from slimprune.surgery import (
        Bundle,
        Origin,
        PrunedProof,
        Reconstruction,
        SlimModel,
        load,
        load_yolo,
        prove,
        prove_pruned,
        save,
    )
    from slimprune.surgery.reconstruction.reconstruct import reconstruct
    from slimprune.surgery.slim import slim
    from slimprune.tasks import Task
    from slimprune.timing import Sampling
    from slimprune.timing.compare import BenchSettings, compare_speed
    from slimprune.training import (
        AcrossRanks,
        AnyMetric,
        EpochRecord,
        Metric,
        Penalty,
        TorchMetric,
        TrainResult,
        TrainSettings,
        evaluate,
        mean_iou,
        top1,
        train,
    )
    from slimprune.types import Listener

__all__ = [
    "AcrossRanks",
    "AnyMetric",
    "BenchDocument",
    "BenchSettings",
    "Budget",
    "BudgetError",
    "Bundle",
    "ChannelGroup",
    "ClassProbability",
    "ComparisonDocument",
    "Cost",
    "CostModel",
    "Costs",
    "Criterion",
    "DataError",
    "EpochRecord",
    "ForwardFn",
    "ImageData",
    "InputSpec",
    "Inspection",
    "LatencyModel",
    "LatencyRow",
    "Listener",
    "Loss",
    "Metric",
    "OnCluster",
    "OnnxCheck",
    "OnnxFile",
    "Origin",
    "Penalty",
    "Plan",
    "Prediction",
    "Preprocessing",
    "Problem",
    "Proof",
    "PrunedProof",
    "Ranks",
    "Recipe",
    "RecipeSettings",
    "Reconstruction",
    "Report",
    "ReportDocument",
    "Sampling",
    "Scores",
    "SlimModel",
    "SlimpruneError",
    "Target",
    "Task",
    "TensorData",
    "TorchMetric",
    "TrainResult",
    "TrainSettings",
    "UnsupportedModelError",
    "UsageError",
    "VerificationError",
    "allocate",
    "bench",
    "build",
    "compare",
    "compare_speed",
    "compress",
    "evaluate",
    "export_onnx",
    "find_groups",
    "inspect",
    "latency_model",
    "load",
    "load_data",
    "load_yolo",
    "mean_iou",
    "predict",
    "process_group",
    "prove",
    "prove_pruned",
    "prune",
    "reconstruct",
    "report_schema",
    "save",
    "score",
    "slim",
    "top1",
    "train",
    "verify_onnx",
    "versions",
]

_PLACES = {
    "budget": ("Budget", "Cost", "CostModel", "Costs", "LatencyModel", "Plan"),
    "budget.allocate": ("allocate",),
    "comparison.clusters": ("OnCluster",),
    "comparison.compare": ("compare",),
    "data": ("ImageData", "TensorData", "load_data"),
    "files": ("BenchDocument", "ComparisonDocument", "LatencyRow", "ReportDocument", "report_schema"),
    "errors": (
        "BudgetError",
        "DataError",
        "SlimpruneError",
        "UnsupportedModelError",
        "UsageError",
        "VerificationError",
    ),
    "export": ("OnnxCheck", "OnnxFile", "export_onnx", "verify_onnx"),
    "forward": ("ForwardFn", "Loss"),
    "graph": ("ChannelGroup", "Proof", "find_groups"),
    "measure": ("versions",),
    "models": ("InputSpec", "build"),
    "pipeline.bench": ("bench",),
    "pipeline.compress": ("compress",),
    "pipeline.inspect": ("inspect",),
    "pipeline.latency": ("latency_model",),
    "pipeline.prune": ("prune",),
    "prediction": ("ClassProbability", "Prediction", "predict"),
    "preprocessing": ("Preprocessing",),
    "ranks.group": ("Ranks", "process_group"),
    "types": ("Listener",),
    "recipe": ("Recipe", "RecipeSettings"),
    "report": ("Inspection",),
    "results": ("Report",),
    "saliency": ("Criterion", "Problem", "Scores", "Target"),
    "saliency.score": ("score",),
    "surgery": (
        "Bundle",
        "Origin",
        "PrunedProof",
        "Reconstruction",
        "SlimModel",
        "load",
        "load_yolo",
        "prove",
        "prove_pruned",
        "save",
    ),
    "surgery.reconstruction.reconstruct": ("reconstruct",),
    "surgery.slim": ("slim",),
    "tasks": ("Task",),
    "timing": ("Sampling",),
    "timing.compare": ("BenchSettings", "compare_speed"),
    "training": (
        "AcrossRanks",
        "AnyMetric",
        "EpochRecord",
        "Metric",
        "Penalty",
        "TorchMetric",
        "TrainResult",
        "TrainSettings",
        "evaluate",
        "mean_iou",
        "top1",
        "train",
    ),
}
"""Public names by the module from which they are imported on first use."""
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
_ORIGINAL_NAMES = {"load_data": "load"}

if not TYPE_CHECKING:  # type checkers only see the imports above

    def __getattr__(name: str) -> Any:
        """Import a public name or submodule on first use (PEP 562), so that `import slimprune` does not load torch."""
        if name in _MODULES:
            module = import_module(f"{__name__}.{_MODULES[name]}")
            return globals().setdefault(name, getattr(module, _ORIGINAL_NAMES.get(name, name)))
        if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
