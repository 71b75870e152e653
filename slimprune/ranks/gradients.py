"""Functions of the same weights on all ranks, each with its own part of a batch, as one differentiable function.

The mean over the ranks of f_r(w) is `mean_over_ranks(f_r(replicated(w)))`: its gradient is the mean of the ranks'
gradients, the same on all of them, and so are all further derivatives. All ranks have to differentiate together.
"""

from typing import Any

import torch
from torch import Tensor

from slimprune.ranks.group import joined, summed


def replicated(tensor: Tensor) -> Tensor:
    """Return a tensor that all ranks have alike; its gradient is the mean of those of all ranks."""
    same: Tensor = _Replicated.apply(tensor)
    return same


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor that each rank computed on its own part of a batch."""
    mean: Tensor = _Averaged.apply(tensor)
    return mean


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, with which each goes on computing on its own part of a batch."""
    total: Tensor = _Summed.apply(tensor)
    return total


class _Replicated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _Averaged.apply(gradients[0])


class _Averaged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return summed(tensor) / joined().count

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # What a rank computes on its part has a gradient that is `count` times its share of the mean's; `_Replicated`
        # divides by `count` again.
        return _Replicated.apply(gradients[0])


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return summed(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _Summed.apply(gradients[0])
