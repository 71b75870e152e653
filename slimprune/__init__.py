"""Slim vision models: prune channels before training by meta-gradients, prove the surgery, train, export."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimprune.budget import Budget, CostModel, LatencyModel, Plan
    from slimprune.budget.allocate import allocate
    from slimprune.comparison.compare import compare
    from slimprune.data import TensorData
    from slimprune.data import load as load_data
    from slimprune.errors import SlimpruneError
    from slimprune.export import export_onnx, verify_onnx
    from slimprune.graph import ChannelGroup, find_groups
    from slimprune.measure import PeakMemory, count_macs, device_name, versions
    from slimprune.models import InputSpec, build
    from slimprune.pipeline.bench import bench
    from slimprune.pipeline.compress import compress
    from slimprune.pipeline.inspect import inspect
    from slimprune.pipeline.latency import latency_model
    from slimprune.recipe import Recipe
    from slimprune.report import Inspection
    from slimprune.results import Report
    from slimprune.saliency import Problem, Scores
    from slimprune.saliency.criteria.prospr import ProsPr
    from slimprune.saliency.score import score
    from slimprune.surgery import Origin, PrunedProof, SlimModel, load, prove, prove_pruned, save
    from slimprune.surgery.slim import slim
    from slimprune.timing import Sampling
    from slimprune.timing.compare import BenchSettings, compare_speed
    from slimprune.timing.runtime import NetworkTimer, Runtime
    from slimprune.training import Metric, TrainSettings, evaluate, mean_iou, top1, train

__all__ = [
    "BenchSettings",
    "Budget",
    "ChannelGroup",
    "CostModel",
    "InputSpec",
    "Inspection",
    "LatencyModel",
    "Metric",
    "NetworkTimer",
    "Origin",
    "PeakMemory",
    "Plan",
    "Problem",
    "ProsPr",
    "PrunedProof",
    "Recipe",
    "Report",
    "Runtime",
    "Sampling",
    "Scores",
    "SlimModel",
    "SlimpruneError",
    "TensorData",
    "TrainSettings",
    "allocate",
    "bench",
    "build",
    "compare",
    "compare_speed",
    "compress",
    "count_macs",
    "device_name",
    "evaluate",
    "export_onnx",
    "find_groups",
    "inspect",
    "latency_model",
    "load",
    "load_data",
    "mean_iou",
    "prove",
    "prove_pruned",
    "save",
    "score",
    "slim",
    "top1",
    "train",
    "verify_onnx",
    "versions",
]

_PLACES = {
    "budget": ("Budget", "CostModel", "LatencyModel", "Plan"),
    "budget.allocate": ("allocate",),
    "comparison.compare": ("compare",),
    "data": ("TensorData", "load_data"),
    "errors": ("SlimpruneError",),
    "export": ("export_onnx", "verify_onnx"),
    "graph": ("ChannelGroup", "find_groups"),
    "measure": ("PeakMemory", "count_macs", "device_name", "versions"),
    "models": ("InputSpec", "build"),
    "pipeline.bench": ("bench",),
    "pipeline.compress": ("compress",),
    "pipeline.inspect": ("inspect",),
    "pipeline.latency": ("latency_model",),
    "recipe": ("Recipe",),
    "report": ("Inspection",),
    "results": ("Report",),
    "saliency": ("Problem", "Scores"),
    "saliency.criteria.prospr": ("ProsPr",),
    "saliency.score": ("score",),
    "surgery": ("Origin", "PrunedProof", "SlimModel", "load", "prove", "prove_pruned", "save"),
    "surgery.slim": ("slim",),
    "timing": ("Sampling",),
    "timing.compare": ("BenchSettings", "compare_speed"),
    "timing.runtime": ("NetworkTimer", "Runtime"),
    "training": ("Metric", "TrainSettings", "evaluate", "mean_iou", "top1", "train"),
}
"""Module -> the public names that are imported from it when they are first used."""
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
_ORIGINAL_NAMES = {"load_data": "load"}

if not TYPE_CHECKING:  # for type checkers the imports above are all there is

    def __getattr__(name: str) -> Any:
        """Import a public name or a submodule (PEP 562), so that `import slimprune` does not wait for torch."""
        if name in _MODULES:
            module = import_module(f"{__name__}.{_MODULES[name]}")
            return globals().setdefault(name, getattr(module, _ORIGINAL_NAMES.get(name, name)))
        if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
