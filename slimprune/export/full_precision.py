"""Running a model whose forward enters autocast in 32-bit floats all the same."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def without_autocast() -> Iterator[None]:
    """Let `torch.autocast` do nothing in the context, in all threads.

    Files hold what a model computes in float32; onnxruntime has no convolution of 16-bit floats on the CPU.
    """
    kind = torch.amp.autocast_mode.autocast
    with _ONE_AT_A_TIME:
        enter, leave = kind.__enter__, kind.__exit__
        kind.__enter__ = _enter  # type: ignore[method-assign]
        kind.__exit__ = _leave  # type: ignore[method-assign]
        try:
            yield
        finally:
            kind.__enter__ = enter  # type: ignore[method-assign]
            kind.__exit__ = leave  # type: ignore[method-assign]


def _enter(region: torch.autocast) -> torch.autocast:
    return region


def _leave(region: torch.autocast, *raised: object) -> None:
    """Leave a region that was never entered."""
