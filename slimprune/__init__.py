"""Slim vision models: prune channels before training by meta-gradients, prove the surgery, train, export."""

from slimprune.budget import Budget, CostModel, LatencyModel, Plan, allocate
from slimprune.comparison import compare
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
from slimprune.saliency import Problem, Scores, score
from slimprune.saliency.criteria.prospr import ProsPr
from slimprune.surgery import Origin, PrunedProof, SlimModel, load, prove, prove_pruned, save, slim
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
