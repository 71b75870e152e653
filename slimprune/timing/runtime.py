"""Runtime of a deployed network, and timing of layers and whole networks in it."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from slimprune.budget import LatencyRecord
from slimprune.errors import UsageError
from slimprune.files import LatencyRow, cache_folder, write_atomically
from slimprune.measure import count_macs, device_name, pinned_threads, usable_cores
from slimprune.recipe import BENCH_BATCH
from slimprune.timing.compare import Beside, engine_version, exported, noise, timing_row
from slimprune.timing.engines import Engine, engine_at
from slimprune.timing.layer_times import LayerClock
from slimprune.timing.layers import Layer
from slimprune.timing.pairs import timing_of
from slimprune.timing.sampling import PairedTimes, Sampling, paired_times
from slimprune.timing.subject import Place, Subject
from slimprune.training import choose_device
from slimprune.types import Listener

SAMPLING = Sampling(pairs=48, seconds=6.0)

CALM, ATTEMPTS = 1.1, 4
"""How long the dense network may take in a measurement, as a multiple of its least median so far, and how often to try.

What else runs on the cores of a shared machine slows networks by different factors. On a virtual machine with two cores
a slim ResNet-8 took 74 % of the dense time while that was short and 84 % while it was a third longer; such states last
for seconds, longer than a measurement.
"""


@dataclass(frozen=True)
class Runtime:
    """Engine, place and batch size of a deployed network.

    Attributes:
        engine: Engine that runs the network.
        place: Device and number of threads.
        batch: Batch size.
    """

    engine: Engine
    place: Place
    batch: int

    @classmethod
    def of(
        cls, engine: str | None = None, batch: int = BENCH_BATCH, threads: int | None = None, device: str = "auto"
    ) -> "Runtime":
        """Create a runtime from names; the default engine is onnxruntime on the CPU and torch on CUDA.

        Raises:
            UsageError: If the engine is unknown or absent, the batch is too small for it, or threads are below 1.
        """
        chosen = choose_device(device)
        found, where = engine_at(engine or ("torch" if chosen.type == "cuda" else "onnxruntime"), chosen)
        if batch < found.smallest_batch:
            raise UsageError(
                f"expected a batch of at least {found.smallest_batch} for engine {found.name}, got {batch}"
            )
        if threads is not None and threads < 1:
            raise UsageError(f"expected threads of at least 1, got {threads}")
        return cls(found, Place(where, threads or usable_cores()), batch)

    def layer_clock(self, progress: Listener) -> Callable[[Sequence[Layer]], list[float]]:
        """Return a function that times layers, each once per machine; times are kept in the user's cache folder.

        Args:
            progress: Called with ("layers", layers with known times, total layers, "").
        """
        file = cache_folder() / "latency" / f"{_digest(_described(self))[:16]}.json"
        layer_clock = LayerClock(
            self.engine,
            self.place,
            self.batch,
            known=known_times(file, self),
            keep=lambda found: keep_times(file, self, found),
            progress=progress,
        )

        def seconds(layers: Sequence[Layer]) -> list[float]:
            with pinned_threads(self.place.threads):
                return layer_clock.seconds(layers)

        return seconds

    def timing(self) -> LatencyRecord:
        """Return the record of this runtime for a plan."""
        return LatencyRecord(
            engine=self.engine.name,
            version=engine_version(self.engine),
            device=device_name(self.place.device),
            threads=self.place.threads,
            batch=self.batch,
        )


@dataclass(frozen=True, eq=False)
class NetworkTimer:
    """Paired timing of slim networks against the dense one.

    Attributes:
        runtime: Runtime of all networks.
        dense: The dense network, left unchanged.
        example: Inputs of the network, [N, ...].
        known: Median seconds that the dense network took before, if any.
    """

    runtime: Runtime
    dense: nn.Module
    example: Tensor
    known: Sequence[float] = ()

    def row(self, slim: nn.Module) -> LatencyRow:
        """Return one comparison in the form of `compare_speed`, made while the machine is calm if that can be had."""
        runtime, network = self.runtime, copy.deepcopy(slim).cpu()
        with pinned_threads(runtime.place.threads), torch.random.fork_rng(devices=[]):
            times = self._calm_times(self._call(network))
        timing = timing_of(times.first, times.second)
        macs = self._dense_macs, count_macs(network, self.example.cpu())
        return timing_row(runtime.engine, runtime.batch, runtime.place, timing, Beside(times.disturbed), macs)

    def _calm_times(self, slim: Callable[[], object]) -> PairedTimes:
        """Return the first measurement in which the dense network is not slow, or the one in which it is fastest."""
        found: list[PairedTimes] = []
        while len(found) < ATTEMPTS:
            found.append(paired_times(self._dense_call, slim, SAMPLING, stopwatch=self.runtime.place.stopwatch))
            self._medians.append(median(found[-1].first))
            if self._medians[-1] <= CALM * min(self._medians):
                return found[-1]
        return min(found, key=lambda times: median(times.first))

    @cached_property
    def _medians(self) -> list[float]:
        """Median seconds of the dense network in all measurements so far."""
        return list(self.known)

    @cached_property
    def _dense_macs(self) -> int:
        return count_macs(copy.deepcopy(self.dense).cpu(), self.example.cpu())

    @cached_property
    def _dense_call(self) -> Callable[[], object]:
        return self._call(copy.deepcopy(self.dense).cpu())

    def _call(self, network: nn.Module) -> Callable[[], object]:
        engine, place = self.runtime.engine, self.runtime.place
        shape, example = self.example.shape[1:], self.example.cpu()
        with TemporaryDirectory() as folder:
            file = Path(folder, "network.onnx")
            subject = exported(network, example, file) if engine.runs_onnx else Subject(network)
            return engine.prepared(subject, noise(self.runtime.batch, shape), place)


def known_times(file: Path, runtime: Runtime) -> dict[str, float]:
    """Return the seconds of layers timed earlier, by description; empty if the file is missing or damaged."""
    try:
        plain = json.loads(file.read_text())
        seconds = {str(layer): float(time) for layer, time in plain["seconds"].items()}
        sound = plain["deployment"] == _described(runtime) and all(0 < time < float("inf") for time in seconds.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return seconds if sound else {}


def keep_times(file: Path, runtime: Runtime, found: Mapping[str, float]) -> None:
    """Add times to the file; if it cannot be written, the next run measures them again."""
    plain = {"deployment": _described(runtime), "seconds": {**known_times(file, runtime), **found}}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(plain, indent=1) + "\n")


def _described(runtime: Runtime) -> dict[str, str | int]:
    timing = runtime.timing()
    return {name: getattr(timing, name) for name in ("engine", "version", "device", "threads", "batch")}


def _digest(plain: Mapping[str, str | int]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
