"""What a network costs: multiply-accumulates, parameters, bytes of weights, memory while it runs, and time."""

from slimprune.measure.engines import ENGINES, Engine, Place, Subject, engine_at, find_engines
from slimprune.measure.kernels import count_kernels
from slimprune.measure.layer_times import LayerClock, LayerTimes
from slimprune.measure.layers import Layer, traced_layers
from slimprune.measure.machine import device_name, load_average, pinned_threads, undisturbed_seconds, usable_cores
from slimprune.measure.macs import count_macs
from slimprune.measure.memory import PeakMemory
from slimprune.measure.pairs import CONFIDENCE, MIN_PAIRS, PLACEMENT, Timing, timing_of
from slimprune.measure.sampling import (
    SAMPLE_SECONDS,
    Call,
    PairedTimes,
    Sampling,
    Stopwatch,
    interleaved_times,
    paired_times,
)
from slimprune.measure.size import count_params, weight_bytes

__all__ = [
    "CONFIDENCE",
    "ENGINES",
    "MIN_PAIRS",
    "PLACEMENT",
    "SAMPLE_SECONDS",
    "Call",
    "Engine",
    "Layer",
    "LayerClock",
    "LayerTimes",
    "PairedTimes",
    "PeakMemory",
    "Place",
    "Sampling",
    "Stopwatch",
    "Subject",
    "Timing",
    "count_kernels",
    "count_macs",
    "count_params",
    "device_name",
    "engine_at",
    "find_engines",
    "interleaved_times",
    "load_average",
    "paired_times",
    "pinned_threads",
    "timing_of",
    "traced_layers",
    "undisturbed_seconds",
    "usable_cores",
    "weight_bytes",
]
