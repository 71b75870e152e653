"""Any re-iterable of (inputs, targets): its length, its epoch number, its way to the device."""

from collections.abc import Iterable, Iterator, Sized

import torch
from torch import Tensor

from slimprune.errors import DataError, UsageError

Batches = Iterable[tuple[Tensor, Tensor]]


def count_batches(batches: Batches) -> int:
    """Batches in one epoch: `len` where there is one, otherwise counted in one pass.

    Raises:
        UsageError: If the batches can be gone through only once, as those of a generator.
        DataError: If there is no batch.
    """
    if isinstance(batches, Iterator):
        raise UsageError(f"expected batches that can be gone through every epoch, got a {type(batches).__name__}")
    # Some loaders draw from torch's generator when a pass starts; the caller's must not move.
    with torch.random.fork_rng(devices=[]):
        count = len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)
    if count == 0:
        raise DataError("expected at least one training batch, got none")
    return count


def set_epoch(batches: Batches, epoch: int) -> None:
    """Tells the batches, or their sampler, which epoch comes next, where either wants to know.

    Args:
        batches: Anything; those without a `set_epoch` are left alone.
        epoch: From 1.
    """
    for owner in (batches, getattr(batches, "sampler", None)):
        announce = getattr(owner, "set_epoch", None)
        if callable(announce):
            announce(epoch)


def on_device(batches: Batches, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches, on the device; copies from pinned memory overlap with computation."""
    for inputs, targets in batches:
        yield inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
