"""What each command does, one file a command, in the order of a run."""

from slimprune.pipeline.bench import bench
from slimprune.pipeline.compress import compress, plan
from slimprune.pipeline.export import export, verify
from slimprune.pipeline.inspect import inspect, inspect_named
from slimprune.pipeline.latency import latency_model

__all__ = ["bench", "compress", "export", "inspect", "inspect_named", "latency_model", "plan", "verify"]
