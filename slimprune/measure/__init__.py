"""Costs of a network that can be counted, and the machine on which a figure was measured."""

from slimprune.measure.machine import (
    device_name,
    environment,
    load_average,
    pinned_threads,
    undisturbed_seconds,
    usable_cores,
    versions,
)
from slimprune.measure.macs import MacCount, count_macs, macs_by_parameter, unfused_attention
from slimprune.measure.memory import PeakMemory, check_memory
from slimprune.measure.recurrent import in_steps
from slimprune.measure.second_count import count_macs_fvcore
from slimprune.measure.size import count_params, weight_bytes, zstd_bytes

__all__ = [
    "MacCount",
    "PeakMemory",
    "check_memory",
    "count_macs",
    "count_macs_fvcore",
    "count_params",
    "device_name",
    "environment",
    "in_steps",
    "load_average",
    "macs_by_parameter",
    "pinned_threads",
    "undisturbed_seconds",
    "unfused_attention",
    "usable_cores",
    "versions",
    "weight_bytes",
    "zstd_bytes",
]
