"""Slim vision models: prune channels before training by meta-gradients, prove the surgery, train, export."""

from slimprune.benching import bench
from slimprune.budget import Budget, CostModel, LatencyModel, Plan, allocate
from slimprune.comparison import compare
from slimprune.data import TensorData
from slimprune.data import load as load_data
from slimprune.deployment import Deployment, NetworkClock
from slimprune.errors import SlimpruneError
from slimprune.export import export_onnx, verify_onnx
from slimprune.graph import ChannelGroup, find_groups
from slimprune.inspecting import inspect
from slimprune.latency import latency_model
from slimprune.measure import PeakMemory, Sampling, count_macs, device_name
from slimprune.models import InputSpec, build
from slimprune.pipeline import compress
from slimprune.recipe import Recipe
from slimprune.report import Inspection, Report
from slimprune.saliency import Problem, Scores, score
from slimprune.saliency.criteria.prospr import ProsPr
from slimprune.speed import BenchSettings, compare_speed
from slimprune.surgery import Origin, SlimModel, load, prove, save, slim, versions
from slimprune.training import Metric, TrainSettings, evaluate, mean_iou, top1, train

__all__ = [
    "BenchSettings",
    "Budget",
    "ChannelGroup",
    "CostModel",
    "Deployment",
    "InputSpec",
    "Inspection",
    "LatencyModel",
    "Metric",
    "NetworkClock",
    "Origin",
    "PeakMemory",
    "Plan",
    "Problem",
    "ProsPr",
    "Recipe",
    "Report",
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
    "save",
    "score",
    "slim",
    "top1",
    "train",
    "verify_onnx",
    "versions",
]
