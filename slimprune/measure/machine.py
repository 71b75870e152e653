"""What times depend on besides the network: the processor, its load, and the number of threads."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch

from slimprune.errors import UsageError

_CPU_INFO, _SCHEDULER = Path("/proc/cpuinfo"), Path("/proc/thread-self/schedstat")


def usable_cores() -> int:
    """Return the number of cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """Return the name of a device as `cpu (model)`, `cuda (model)` or alike; for mps the model is the processor."""
    named = torch.get_device_module(device) if device.type in ("cuda", "xpu") else None
    model = _processor() if named is None else named.get_device_name(device)
    return f"{device.type} ({model})"


def load_average() -> float | None:
    """Return the mean number of running or waiting processes in the last minute; None if it is not available."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def undisturbed_seconds() -> float:
    """Return wall-clock time minus the time for which this thread was ready to run but waited for a core.

    On an idle machine differences of it are wall-clock time. On a busy one they are what the wall-clock time would be
    without the competition for cores; the competition for caches and memory remains. Waiting times of a call's other
    threads are not subtracted, nor is time taken by a hypervisor. Linux only; elsewhere plain wall-clock time.

    Source: Documentation/scheduler/sched-stats.rst of the Linux kernel, second field of /proc/<pid>/schedstat, ns.
    """
    if not _SCHEDULER.exists():
        return time.perf_counter()
    before = _nanoseconds_waited()
    while True:
        now, after = time.perf_counter(), _nanoseconds_waited()
        if before == after:  # otherwise the thread waited between the two readings
            return now - 1e-9 * after
        before = after


def _nanoseconds_waited() -> int:
    return int(_SCHEDULER.read_text().split()[1])


@contextmanager
def pinned_threads(count: int) -> Iterator[None]:
    """Let torch compute an operator with `count` threads, and restore the previous number afterwards.

    Raises:
        UsageError: If the count is below 1.
    """
    if count < 1:
        raise UsageError(f"expected threads of at least 1, got {count}")
    former = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def _processor() -> str:
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which a result depends."""
    packages = ("slimprune", "torch", "torchvision", "fvcore", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def environment(device: torch.device) -> dict[str, str | int]:
    """Return device, threads and versions."""
    return {"device": device_name(device), "threads": torch.get_num_threads(), **versions()}
