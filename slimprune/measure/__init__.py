"""What a network costs that can be counted, and the machine that a figure comes from."""

from slimprune.measure.machine import (
    device_name,
    environment,
    load_average,
    pinned_threads,
    undisturbed_seconds,
    usable_cores,
    versions,
)
from slimprune.measure.macs import count_macs
from slimprune.measure.memory import PeakMemory
from slimprune.measure.size import count_params, weight_bytes

__all__ = [
    "PeakMemory",
    "count_macs",
    "count_params",
    "device_name",
    "environment",
    "load_average",
    "pinned_threads",
    "undisturbed_seconds",
    "usable_cores",
    "versions",
    "weight_bytes",
]
