"""Evaluation of a model in one pass over test batches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from slimprune.errors import DataError
from slimprune.forward import ForwardFn
from slimprune.ranks.group import ALONE, Ranks
from slimprune.training.batches import Batches, first_tensor, on_device, pair_of
from slimprune.training.distributed import unwrap
from slimprune.training.metrics import AnyMetric

Forward = Callable[[Any], Any]


def evaluate(
    model: nn.Module,
    batches: Batches,
    metric: AnyMetric,
    *,
    device: str | torch.device,
    amp: bool = False,
    forward_fn: ForwardFn | None = None,
) -> float:
    """Compute the metric over all batches, with the model in eval mode and without gradients.

    Args:
        model: Model, moved to the device if necessary; the mode of every submodule is restored afterwards.
        batches: Pairs (inputs [N, ...], targets), at least one batch.
        metric: Metric to compute.
        device: Device of the computation.
        amp: Whether forward passes run under autocast in bfloat16.
        forward_fn: Function (model, batch) -> output. See `train`. The metric then receives (output, batch).

    Returns:
        The metric's value.

    Raises:
        DataError: If there is no batch, or batches are not pairs and there is no `forward_fn`.
        UnsupportedModelError: If the metric cannot read the model's output.
    """
    device = torch.device(device)
    return tested(model.to(device), eager_forward(model, amp, forward_fn), batches, metric, device, forward_fn, ALONE)


def eager_forward(model: nn.Module, amp: bool, forward_fn: ForwardFn | None = None) -> Forward:
    """Return the forward pass of the unwrapped model, or `forward_fn`; with `amp` under autocast in bfloat16."""
    plain = unwrap(model)
    call = plain if forward_fn is None else partial(forward_fn, plain)

    def forward(inputs: Any) -> Any:
        with torch.autocast(first_tensor(inputs).device.type, dtype=torch.bfloat16, enabled=amp):
            return call(inputs)

    return forward


def tested(
    model: nn.Module,
    forward: Forward,
    batches: Batches,
    metric: AnyMetric,
    device: torch.device,
    forward_fn: ForwardFn | None,
    ranks: Ranks,
) -> float:
    """Compute the metric over all batches with a given forward pass. See `evaluate`.

    Args:
        model: Model on the device.
        forward: Function from inputs, or from a batch if there is a `forward_fn`, to output.
        batches: Pairs (inputs [N, ...], targets), at least one batch.
        metric: Metric to compute.
        device: Device of the computation.
        forward_fn: Function (model, batch) -> output, if batches are not pairs.
        ranks: Ranks whose batches count together.

    Raises:
        DataError: If there is no batch, or batches are not pairs and there is no `forward_fn`.
        UnsupportedModelError: If the metric cannot read the output.
    """
    tally, batch = metric.start(), None
    # Not inference_mode: a tensor that a model caches in it could not be used in training afterwards.
    with eval_mode(model), torch.no_grad():
        for batch in on_device(batches, device):
            inputs, targets = pair_of(batch, forward_fn)
            tally.add(forward(inputs), targets)
    if batch is None:
        raise DataError("expected at least one test batch, got none")
    return tally.value(together=ranks.several or isinstance(model, DistributedDataParallel))


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Keep the model in eval mode for the context; the mode of every submodule is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
