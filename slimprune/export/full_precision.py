"""Running a model whose forward enters autocast in 32-bit floats all the same."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def without_autocast() -> Iterator[None]:
    """Let `torch.autocast` do nothing in the context, in this thread: others may be training with it.

    Files hold what a model computes in float32; onnxruntime has no convolution of 16-bit floats on the CPU.
    """
    kind, here = torch.amp.autocast_mode.autocast, threading.get_ident()
    with _ONE_AT_A_TIME:
        enter: Any = kind.__enter__
        leave: Any = kind.__exit__

        def entered(region: torch.autocast) -> Any:
            return region if threading.get_ident() == here else enter(region)

        def left(region: torch.autocast, *raised: Any) -> Any:
            return None if threading.get_ident() == here else leave(region, *raised)

        kind.__enter__ = entered  # type: ignore[method-assign]
        kind.__exit__ = left  # type: ignore[method-assign]
        try:
            yield
        finally:
            kind.__enter__ = enter  # type: ignore[method-assign]
            kind.__exit__ = leave  # type: ignore[method-assign]
