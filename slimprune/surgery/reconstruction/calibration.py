"""Calibration samples: one large batch, part of which is held out."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from slimprune.errors import DataError, UsageError
from slimprune.forward import Loss, loss_of
from slimprune.graph import first_samples
from slimprune.measure.devices import device_of

Batch = Any
"""Inputs, or a pair (inputs, targets); several inputs in a tuple."""

_HELD_OUT = 0.25
_FEWEST = 8
_LARGEST_ACTIVATION = 1 << 28
"""Number of entries that the output of one layer for all samples may have: 1 GiB in float32."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Samples in random order; the last quarter is held out from fitting.

    Attributes:
        inputs: Arguments of the forward call for all samples.
        targets: Targets of all samples, or None.
        count: Number of samples.
    """

    inputs: tuple[Any, ...]
    targets: Any
    count: int

    @classmethod
    def collect(cls, model: nn.Module, batches: Iterable[Batch], samples: int, seed: int) -> "Calibration":
        """Return up to `samples` samples of the batches, shuffled and on the model's device.

        Batches whose samples have another shape than those of the first are passed over.

        Raises:
            UsageError: If `samples` is too small.
            DataError: If there are too few samples.
        """
        if samples < _FEWEST:
            raise UsageError(f"expected at least {_FEWEST} samples to reconstruct with, got {samples}")
        taken: list[tuple[tuple[Any, ...], Any]] = []
        found = 0
        for batch in batches:
            parts = tree_map_only(Tensor, lambda tensor: tensor.to(device_of(model)), _parts(batch))
            if not taken:
                samples = min(samples, max(_FEWEST, _LARGEST_ACTIVATION // _largest_output(model, parts[0])))
            elif _shapes(parts) != _shapes(taken[0]):
                continue
            taken.append(parts)
            found += _length(parts[0])
            if found >= samples:
                break
        if found < _FEWEST:
            raise DataError(f"expected at least {_FEWEST} samples to reconstruct with, got {found}")
        order = torch.randperm(found, generator=torch.Generator().manual_seed(seed))[:samples].to(device_of(model))
        inputs, targets = tree_map(
            lambda *parts: torch.cat(parts)[order] if isinstance(parts[0], Tensor) else parts[0], taken[0], *taken[1:]
        )
        return cls(inputs, targets, len(order))

    def held_out(self) -> "Calibration":
        """Return the samples that are held out."""
        first = fit_size(self.count)
        inputs, targets = tree_map_only(Tensor, lambda tensor: tensor[first:], (self.inputs, self.targets))
        return Calibration(inputs, targets, self.count - first)


def fit_size(count: int) -> int:
    """Return how many of `count` samples are fitted; the others are held out."""
    return count - max(1, round(_HELD_OUT * count))


def distance(model: nn.Module, dense: nn.Module, samples: Calibration, loss: Loss | None) -> float:
    """Return the loss of a model in eval mode on some samples.

    Without a loss or targets it is the squared error of its outputs against those of the dense network, relative to
    their variance.
    """
    with torch.no_grad():
        outputs = model(*samples.inputs)
        if loss is not None and samples.targets is not None:
            return float(loss_of(loss, outputs, samples.targets))
        expected = copy.deepcopy(dense).eval()(*samples.inputs)
    pairs = zip(_flat(outputs), _flat(expected), strict=True)
    error = sum(float((found - wanted).square().sum()) for found, wanted in pairs)
    return error / sum(float((wanted - wanted.mean(0)).square().sum()) for wanted in _flat(expected))


@contextmanager
def estimating_statistics(model: nn.Module) -> Iterator[None]:
    """Set batch norms to the statistics of the next batch, and everything else to eval mode."""
    norms = [module for module in model.eval().modules() if isinstance(module, _BatchNorm)]
    former = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, former, strict=True):
            norm.eval().momentum = momentum


def _largest_output(model: nn.Module, inputs: tuple[Any, ...]) -> int:
    """Return the largest number of entries of a module's output for one sample."""
    model, largest = copy.deepcopy(model).eval(), 1

    def measure(module: nn.Module, arguments: Any, outputs: Any) -> None:
        nonlocal largest
        largest = max([largest, *(leaf.numel() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor))])

    with ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            hooks.enter_context(module.register_forward_hook(measure))
        model(*first_samples(inputs))
    return largest


def _parts(batch: Batch) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments of the forward call and the targets, which may be None."""
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    inputs, targets = batch if pair else (batch, None)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), targets


def _shapes(parts: tuple[tuple[Any, ...], Any]) -> list[torch.Size]:
    """Return the shapes of all tensors of a sample."""
    return [leaf.shape[1:] for leaf in tree_leaves(parts) if isinstance(leaf, Tensor)]


def _length(inputs: tuple[Any, ...]) -> int:
    return next(len(leaf) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor))


def _flat(outputs: Any) -> list[Tensor]:
    """Return the tensors of an output in float64, on the CPU, because not every device has that type."""
    return [leaf.cpu().double() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
