"""Batch norms that take their statistics over the batches of all ranks.

Torch's own `SyncBatchNorm` runs on accelerators only, and has no second derivatives, which meta-gradients need.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimprune.ranks.gradients import sum_over_ranks
from slimprune.ranks.group import Ranks


@contextmanager
def synchronised_norms(model: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Let the model's batch norms in training mode take their statistics over all ranks, for the context.

    The ranks have to call the model together, on batches of equal shapes, and to differentiate together.
    """
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm)] if ranks.several else []
    for norm in norms:
        norm.forward = partial(_synchronised, norm, ranks)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _synchronised(norm: _BatchNorm, ranks: Ranks, inputs: Tensor) -> Tensor:
    """Compute a batch norm; in training mode with the statistics of the equal shares of all ranks."""
    if not norm.training:
        return type(norm).forward(norm, inputs)
    mean, variance = _statistics(inputs, ranks)
    if norm.track_running_stats:
        _track(norm, mean.detach(), variance.detach(), inputs.numel() // inputs.shape[1] * ranks.count)
    shape = [1, -1, *[1] * (inputs.ndim - 2)]
    output = (inputs - mean.view(shape)) * torch.rsqrt(variance + norm.eps).view(shape)
    return output if norm.weight is None else output * norm.weight.view(shape) + norm.bias.view(shape)


def _statistics(inputs: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of every channel, [C], over the equal shares of all ranks."""
    over = [axis for axis in range(inputs.ndim) if axis != 1]  # the channels of [N, C, ...] are apart
    mean = sum_over_ranks(inputs.mean(over)) / ranks.count
    deviations = inputs - mean.view(1, -1, *[1] * (inputs.ndim - 2))
    return mean, sum_over_ranks(deviations.square().mean(over)) / ranks.count


@torch.no_grad()
def _track(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics towards those of a batch of `count` values per channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_((variance * count / (count - 1)).to(norm.running_var.dtype), share)
