"""Operations on any re-iterable of (inputs, targets): length, epoch number and transfer to the device."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.errors import DataError, UsageError
from slimprune.forward import ForwardFn, split_batch

Batches = Iterable[Any]
"""Pairs (inputs, targets); with a `forward_fn`, whatever batches it accepts."""


def count_batches(batches: Batches) -> int:
    """Return the number of batches in one epoch, from `len` if available, otherwise counted in one pass.

    Raises:
        UsageError: If the batches can be iterated only once, for instance those of a generator.
        DataError: If there is no batch.
    """
    if isinstance(batches, Iterator):
        raise UsageError(f"expected batches that can be gone through every epoch, got a {type(batches).__name__}")
    # Some loaders draw from torch's generator when a pass starts; the caller's state must not change. The `__len__`
    # of some raises TypeError, for instance that of a DataLoader over an iterable data set.
    with torch.random.fork_rng(devices=[]):
        try:
            count = len(batches)  # type: ignore[arg-type]
        except TypeError:
            count = sum(1 for _ in batches)
    if count == 0:
        raise DataError("expected at least one training batch, got none")
    return count


def set_epoch(batches: Batches, epoch: int) -> None:
    """Announce the next epoch to the batches and their sampler, if they have a `set_epoch`.

    Args:
        batches: Any batches; those without a `set_epoch` are left unchanged.
        epoch: Number of the epoch, from 1.
    """
    for owner in (batches, getattr(batches, "sampler", None)):
        announce = getattr(owner, "set_epoch", None)
        if callable(announce):
            announce(epoch)


def after(batches: Batches, done: int) -> Iterator[Any]:
    """Return the batches of an epoch behind the first `done`, which are skipped now.

    Batches with a method `skipping`, which takes their number, need not be computed for that; others are gone through.
    """
    skipping = getattr(batches, "skipping", None)
    if done and callable(skipping):
        return iter(skipping(done))
    left = iter(batches)
    for _ in range(done):
        next(left, None)
    return left


def on_device(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Yield the batches with all tensors on the device; copies from pinned memory overlap with computation."""
    for batch in batches:
        yield tree_map_only(Tensor, lambda tensor: tensor.to(device, non_blocking=True), batch)


def pair_of(batch: Any, forward_fn: ForwardFn | None) -> tuple[Any, Any]:
    """Split a batch into the model's only argument and the loss function's second argument.

    Raises:
        DataError: If the batch is not a pair of one input and targets, and there is no `forward_fn` to accept it.
    """
    arguments, targets = split_batch(batch, forward_fn)
    if len(arguments) != 1:
        raise DataError(f"expected batches of one input and targets, or a forward_fn, got {len(arguments)} inputs")
    return arguments[0], targets


def first_of(batches: Iterable[Any]) -> Any:
    """Return the first batch.

    Raises:
        DataError: If there is none.
    """
    batch = next(iter(batches), None)
    if batch is None:
        raise DataError("expected batches, got none")
    return batch


def first_tensor(batch: Any) -> Tensor:
    """Return the first tensor of a batch, whose length is the number of samples.

    Raises:
        DataError: If the batch contains no tensor.
    """
    found = next((leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)), None)
    if found is None:
        raise DataError(f"expected a batch with tensors, got a {type(batch).__name__} without")
    return found
