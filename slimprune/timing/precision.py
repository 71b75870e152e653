"""Paired timing of two ONNX files of one network, in onnxruntime on the CPU."""

from pathlib import Path

import torch
from torch import Tensor, nn

from slimprune.files import PrecisionSpeed
from slimprune.measure import device_name, pinned_threads, usable_cores
from slimprune.timing.compare import engine_version
from slimprune.timing.engines import ENGINES
from slimprune.timing.pairs import timing_of
from slimprune.timing.sampling import Sampling, paired_times
from slimprune.timing.subject import Place, Subject

SAMPLING = Sampling(pairs=32, seconds=2.0)


def compare_precisions(
    reference: Path, candidate: Path, inputs: Tensor, *, threads: int | None = None, sampling: Sampling | None = None
) -> PrecisionSpeed:
    """Time a file of lower precision beside the one of 32-bit floats.

    Args:
        reference: File of 32-bit floats.
        candidate: File of lower precision, with the same input.
        inputs: One batch [N, ...] as both files take it, on the CPU.
        threads: Threads of onnxruntime; None for the number of cores that this process may use.
        sampling: Number of pairs and time limit.

    Raises:
        UnsupportedModelError: If one of the files cannot be run.
    """
    engine, place = ENGINES["onnxruntime"], Place(torch.device("cpu"), threads or usable_cores())
    with pinned_threads(place.threads):
        first, second = (
            engine.prepared(Subject(nn.Identity(), file), inputs, place) for file in (reference, candidate)
        )
        times = paired_times(first, second, sampling or SAMPLING, stopwatch=place.stopwatch)
    timing = timing_of(times.first, times.second)
    return {
        "engine": engine.name,
        "version": engine_version(engine),
        "device": device_name(place.device),
        "threads": place.threads,
        "batch": len(inputs),
        "fp32_ms": 1e3 * timing.first.median,
        "ms": 1e3 * timing.second.median,
        "speedup": timing.speedup,
        "interval": [1 / timing.high, 1 / timing.low],
        "confidence": timing.confidence,
        "pairs": timing.pairs,
        "verdict": timing.verdict,
        "disturbed": times.disturbed,
    }
