"""Interleaved timing of layers, whole networks and training steps."""

from slimprune.timing.autocast import AutocastTimes, autocast_times
from slimprune.timing.compare import BenchSettings, compare_speed, engine_version, exported, noise, timing_row
from slimprune.timing.engines import ENGINES, Engine, engine_at, find_engines
from slimprune.timing.kernels import count_kernels
from slimprune.timing.layer_times import LayerClock, LayerTimes
from slimprune.timing.layers import Layer, traced_layers
from slimprune.timing.pairs import CONFIDENCE, MIN_PAIRS, PLACEMENT, Timing, timing_of
from slimprune.timing.runtime import NetworkTimer, Runtime
from slimprune.timing.sampling import (
    SAMPLE_SECONDS,
    Call,
    PairedTimes,
    Sampling,
    Stopwatch,
    interleaved_times,
    paired_times,
)
from slimprune.timing.subject import Place, Subject

__all__ = [
    "CONFIDENCE",
    "ENGINES",
    "MIN_PAIRS",
    "PLACEMENT",
    "SAMPLE_SECONDS",
    "AutocastTimes",
    "BenchSettings",
    "Call",
    "Engine",
    "Layer",
    "LayerClock",
    "LayerTimes",
    "NetworkTimer",
    "PairedTimes",
    "Place",
    "Runtime",
    "Sampling",
    "Stopwatch",
    "Subject",
    "Timing",
    "autocast_times",
    "compare_speed",
    "count_kernels",
    "engine_at",
    "engine_version",
    "exported",
    "find_engines",
    "interleaved_times",
    "noise",
    "paired_times",
    "timing_of",
    "timing_row",
    "traced_layers",
]
