"""Peak memory of a block of code."""

import ctypes
import gc
import mmap
import platform
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from slimprune.errors import UsageError

SAMPLE_SECONDS = 0.002

_STATM, _MEMINFO = Path("/proc/self/statm"), Path("/proc/meminfo")


class PeakMemory:
    """Context manager that measures peak memory; the result is in `peak_bytes` afterwards.

    On a CUDA or XPU device this is `max_memory_allocated` of `torch.cuda` or `torch.xpu`: the most bytes that tensors
    on the device held at once during the block. Tensors allocated before it (weights, data) are included, and the
    blocks that the allocator caches are not.

    On the CPU and on MPS, which share their memory, torch has no such count. The result is the growth of the resident
    set of the whole process: the largest size, sampled every 2 ms during the block and once at its end, minus the size
    at its start, never below 0. It excludes what was resident before, includes everything else that the process
    allocates meanwhile, and can miss a peak shorter than the sampling interval. Memory that an allocator had kept and
    reuses is also excluded, except with glibc, which is made to return it to the system first. On systems without /proc
    the process's high-water mark replaces the samples, so that a peak below an earlier one reads as 0. Compare figures
    of fresh processes.

    Attributes:
        peak_bytes: Peak in bytes; 0 until the block has ended.

    Examples:
        >>> with PeakMemory("cpu") as memory:
        ...     block = torch.ones(25_000_000)  # 100 MB
        >>> memory.peak_bytes > 50_000_000
        True
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.peak_bytes = 0
        self._device = torch.device(device)
        counts = self._device.type in ("cuda", "xpu")
        self._counted: Any = torch.get_device_module(self._device) if counts else None
        self._start = 0
        self._highest = 0
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self._counted is not None:
            self._counted.synchronize(self._device)
            self._counted.reset_peak_memory_stats(self._device)
        else:
            _give_back_freed_memory()
            self._start = self._highest = _resident_bytes()
            self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._counted is not None:
            self._counted.synchronize(self._device)
            self.peak_bytes = self._counted.max_memory_allocated(self._device)
            return
        self._done.set()
        self._sampler.join()
        self.peak_bytes = max(self._highest, _resident_bytes()) - self._start

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._highest = max(self._highest, _resident_bytes())


def check_memory(needed: int, what: str) -> None:
    """Check that the machine has `needed` bytes of memory left, where Linux tells; `what` would hold them.

    Raises:
        UsageError: If it has fewer.
    """
    if not _MEMINFO.exists():
        return
    rows = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    available = 1024 * int(rows.get("MemAvailable", "0 kB").split()[0])
    if 0 < available < needed:
        raise UsageError(
            f"expected {what} to fit into {available / 2**30:.1f} GiB of free memory, got {needed / 2**30:.1f} GiB"
        )


def _give_back_freed_memory() -> None:
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    """Return the resident bytes of this process or, if the system does not report them, their maximum so far."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE
    if sys.platform == "win32":
        raise UsageError("expected a system that tells a process its memory, got win32")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
