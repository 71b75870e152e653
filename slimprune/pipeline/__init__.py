"""The implementation of the commands: one module per command, and the steps that they share."""

from slimprune.pipeline.bench import bench
from slimprune.pipeline.compress import compress, plan
from slimprune.pipeline.export import export, verify
from slimprune.pipeline.inspect import inspect, inspect_named
from slimprune.pipeline.instability import instability
from slimprune.pipeline.latency import latency_model
from slimprune.pipeline.prune import prune

__all__ = [
    "bench",
    "compress",
    "export",
    "inspect",
    "inspect_named",
    "instability",
    "latency_model",
    "plan",
    "prune",
    "verify",
]
