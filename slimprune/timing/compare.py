"""Paired timing of two networks with every requested engine and batch size."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.export import export_onnx
from slimprune.files import LatencyRow
from slimprune.measure import PeakMemory, check_memory, count_macs, device_name, pinned_threads, usable_cores
from slimprune.timing.engines import Engine, engine_at, find_engines
from slimprune.timing.kernels import count_kernels
from slimprune.timing.pairs import Timing, timing_of
from slimprune.timing.sampling import Call, Sampling, paired_times
from slimprune.timing.subject import Place, Subject
from slimprune.training import choose_device
from slimprune.types import Listener, ignore

MOST_AT_ONCE, MOST_THREADS = 2**20, 1024
"""Largest batch and most threads."""


@dataclass(frozen=True)
class BenchSettings:
    """Engines, batch sizes and duration of a comparison.

    Attributes:
        engines: Names of `timing.ENGINES`, with a suffix `-cpu` or `-cuda` if that is where they run; empty for all
            usual engines that can run with the device.
        batches: Batch sizes, each at least 1.
        threads: Threads of torch and onnxruntime on the CPU; None for the number of cores that this process may use.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        sampling: Pairs and seconds of each comparison.

    Raises:
        UsageError: If a value is out of range.
    """

    engines: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 8, 32)
    threads: int | None = None
    device: str = "auto"
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1:
            raise UsageError(f"expected batches of at least 1, got {list(self.batches)}")
        if max(self.batches) > MOST_AT_ONCE:
            raise UsageError(f"expected batches of at most {MOST_AT_ONCE}, got {list(self.batches)}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"expected threads of at least 1, got {self.threads}")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(f"expected threads of at most {MOST_THREADS}, got {self.threads}")

    @classmethod
    def parsed(
        cls,
        engines: Sequence[str],
        batches: str,
        threads: int | None = None,
        device: str = "auto",
        *,
        pairs: int,
        seconds: float,
    ) -> Self:
        """Parse the texts of a command line, in which engines and batch sizes may be separated by commas.

        Raises:
            UsageError: If a batch size is not an integer, or a value is out of range.
        """
        names = tuple(name.strip() for text in engines for name in text.split(","))
        try:
            sizes = tuple(int(size) for size in batches.split(","))
        except ValueError:
            raise UsageError(f"expected batches as whole numbers (1,8,32), got {batches!r}") from None
        return cls(names, sizes, threads, device, Sampling(pairs, seconds))

    @property
    def place(self) -> Place:
        """Existing device and number of threads.

        Raises:
            UsageError: If the device is absent.
        """
        return Place(choose_device(self.device), self.threads or usable_cores())

    def comparisons(self) -> list[tuple[Engine, int]]:
        """Return every engine with every batch size that it supports.

        Raises:
            UsageError: If an engine is unknown or cannot run here, or there is nothing to compare.
        """
        device, batches = self.place.device, dict.fromkeys(self.batches)
        named = dict.fromkeys(_engine_on(name, device) for name in self.engines)
        engines = list(named) or find_engines((), device)
        found = [(engine, batch) for engine in engines for batch in batches if batch >= engine.smallest_batch]
        if not found:
            least = min(engine.smallest_batch for engine in engines)
            raise UsageError(f"expected a batch of at least {least} for engine {engines[0].name}, got {[*batches]}")
        return found


def _engine_on(name: str, device: torch.device) -> Engine:
    """Return the engine of that name, whose suffix `-cpu` or `-cuda` may only say again where it runs.

    Raises:
        UsageError: If the engine is unknown, cannot run there, or its suffix names another place.
    """
    engine, where = engine_at(name, device)
    if where != engine.place(device, 1).device:
        raise UsageError(f"expected device {where.type} for engine {name}, got {device.type}")
    return engine


@dataclass(frozen=True)
class Load:
    """Resource use of a network on a CUDA device; None elsewhere.

    Attributes:
        peak_bytes: Peak memory up to the first call, in bytes.
        kernels: Number of kernels per call.
    """

    peak_bytes: int | None = None
    kernels: int | None = None


@dataclass(frozen=True)
class Beside:
    """Measurements of two networks other than their times.

    Attributes:
        disturbed: Fraction of the wall-clock time during which other work used the cores.
        dense: Resource use of the first network.
        slim: Resource use of the second network.
    """

    disturbed: float
    dense: Load = Load()
    slim: Load = Load()


def compare_speed(
    reference: nn.Module,
    candidate: nn.Module,
    shape: Sequence[int],
    settings: BenchSettings | None = None,
    *,
    listener: Listener = ignore,
) -> list[LatencyRow]:
    """Time two networks in pairs, with every engine and batch size of the settings.

    Args:
        reference: Network of the fields `dense`; it is left unchanged.
        candidate: Network of the fields `slim`; it is left unchanged.
        shape: Shape of one input, such as (channels, height, width).
        settings: Engines, batch sizes and duration.
        listener: Called with (engine and batch size, pairs done, total pairs, verdict).

    Returns:
        For each comparison: `engine`, `device`, `batch`, `threads`, `version` of the engine, `dense_ms` and `slim_ms`
        (medians per call), `iqr` (quartiles of both, ms), `speedup` (how many times as fast slim is), its `interval`
        and `confidence`, `pairs`, `verdict`, `disturbed` (fraction of the wall-clock time during which other work used
        the cores; the times exclude it), `macs` (dense, slim, reduction), `realised_share` (speed-up over MAC
        reduction), and `peak_bytes` up to the first call and `kernels` per call (dense, slim; None except for torch on
        CUDA).

    Raises:
        UsageError: If an engine is unknown or absent.
        UnsupportedModelError: If a network cannot be run, exported or counted. Engines that were not requested by name
            are skipped if they cannot run it, as long as another one can.
    """
    settings = settings or BenchSettings()
    comparisons, place = settings.comparisons(), settings.place
    networks, example = [copy.deepcopy(one).cpu() for one in (reference, candidate)], noise(2, shape)
    macs = [count_macs(network, example) for network in networks]
    rows: list[LatencyRow] = []
    with pinned_threads(place.threads), TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        subjects = [Subject(network) for network in networks]
        for engine, batch in comparisons:
            where = engine.place(place.device, place.threads)
            try:
                if engine.runs_onnx and subjects[0].onnx is None:
                    subjects = [exported(one, example, Path(folder, f"{i}.onnx")) for i, one in enumerate(networks)]
                timing, measured = _compared(engine, subjects, noise(batch, shape), where, settings.sampling, listener)
            except UnsupportedModelError as error:
                if settings.engines or ((engine, batch) == comparisons[-1] and not rows):
                    raise
                pairs = settings.sampling.pairs
                listener(f"{engine.name} {batch}", pairs, pairs, f"left out: {error}")
            else:
                rows.append(timing_row(engine, batch, where, timing, measured, macs))
    return rows


def _compared(
    engine: Engine, subjects: Sequence[Subject], inputs: Tensor, place: Place, sampling: Sampling, listener: Listener
) -> tuple[Timing, Beside]:
    stage = f"{engine.name} {len(inputs)}"
    listener(stage, 0, sampling.pairs, "warm-up")
    (first, first_load), (second, second_load) = (_loaded(engine, subject, inputs, place) for subject in subjects)

    def progress(_: str, done: int, total: int, note: str) -> None:
        if done < total:
            listener(stage, done, total, note)

    times = paired_times(first, second, sampling, stopwatch=place.stopwatch, progress=progress)
    timing = timing_of(times.first, times.second)
    listener(stage, sampling.pairs, sampling.pairs, f"{timing.verdict} ({timing.pairs} pairs)")
    return timing, Beside(times.disturbed, first_load, second_load)


def _loaded(engine: Engine, subject: Subject, inputs: Tensor, place: Place) -> tuple[Call, Load]:
    """Return the timed call and its resource use on a CUDA device."""
    if place.device.type != "cuda" or engine.runs_onnx:
        return engine.prepared(subject, inputs, place), Load()
    before = torch.cuda.memory_allocated(place.device)
    with PeakMemory(place.device) as memory:
        call = engine.prepared(subject, inputs, place)
    return call, Load(memory.peak_bytes - before, count_kernels(call, place.device))


def timing_row(
    engine: Engine, batch: int, place: Place, timing: Timing, beside: Beside, macs: Sequence[int]
) -> LatencyRow:
    """Return one comparison in the form of `compare_speed`; `macs` are those of the dense and the slim network."""
    dense, slim = macs
    reduction = dense / max(slim, 1)
    return {
        "engine": engine.name,
        "device": device_name(place.device),
        "batch": batch,
        "threads": place.threads,
        "version": engine_version(engine),
        "dense_ms": 1e3 * timing.first.median,
        "slim_ms": 1e3 * timing.second.median,
        "speedup": timing.speedup,
        "iqr": {
            "dense": [1e3 * timing.first.lower, 1e3 * timing.first.upper],
            "slim": [1e3 * timing.second.lower, 1e3 * timing.second.upper],
        },
        "interval": [1 / timing.high, 1 / timing.low],
        "confidence": timing.confidence,
        "pairs": timing.pairs,
        "verdict": timing.verdict,
        "disturbed": beside.disturbed,
        "peak_bytes": {"dense": beside.dense.peak_bytes, "slim": beside.slim.peak_bytes},
        "kernels": {"dense": beside.dense.kernels, "slim": beside.slim.kernels},
        "macs": {"dense": dense, "slim": slim, "reduction": reduction},
        "realised_share": timing.speedup / reduction,
    }


def engine_version(engine: Engine) -> str:
    """Return the name and version of the package that runs the networks."""
    return f"{engine.package} {version(engine.package)}"


def exported(network: nn.Module, example: Tensor, path: Path) -> Subject:
    """Return a network on the CPU with its ONNX file, written to `path`."""
    export_onnx(network, example, path)
    return Subject(network, path)


def noise(batch: int, shape: Sequence[int]) -> Tensor:
    """Return synthetic inputs [N, *shape], drawn from a standard normal distribution.

    Raises:
        UsageError: If they do not fit into memory.
    """
    check_memory(4 * batch * math.prod(shape), f"inputs of shape {[batch, *shape]}")
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
