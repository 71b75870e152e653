"""What times depend on beside the network: the processor, its load, and the number of threads."""

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
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """`cpu (model)` or `cuda (model)`."""
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return f"{device.type} ({model})"


def load_average() -> float | None:
    """Processes that ran or wanted to, mean of the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def undisturbed_seconds() -> float:
    """Wall-clock less the time that this thread was ready to run and the cores were given to other work.

    On an idle machine differences of it are wall-clock; on a busy one they are what the wall-clock would be without
    the competition for cores, that for caches and memory aside. What a call's other threads wait for is not taken off,
    and neither is what a hypervisor takes away. Linux only; elsewhere plain wall-clock.

    Source: Documentation/scheduler/sched-stats.rst of the Linux kernel, second field of /proc/<pid>/schedstat, ns.
    """
    if not _SCHEDULER.exists():
        return time.perf_counter()
    before = _nanoseconds_waited()
    while True:
        now, after = time.perf_counter(), _nanoseconds_waited()
        if before == after:  # otherwise the thread had to wait in between
            return now - 1e-9 * after
        before = after


def _nanoseconds_waited() -> int:
    return int(_SCHEDULER.read_text().split()[1])


@contextmanager
def pinned_threads(count: int) -> Iterator[None]:
    """Lets torch compute an operator with `count` threads, and puts the former number back.

    Raises:
        UsageError: a count below 1.
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
    """Versions of Python and of the packages that a result depends on."""
    packages = ("slimprune", "torch", "torchvision", "fvcore", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def environment(device: torch.device) -> dict[str, str | int]:
    """Device, threads and versions."""
    return {"device": device_name(device), "threads": torch.get_num_threads(), **versions()}
