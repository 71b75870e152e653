"""Penalties on the weights that make channels sparse during training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimprune.errors import UnsupportedModelError

POLARIZATION_T = 1.2
"""Weight of the L1 term in the polarization regularizer."""


@dataclass(frozen=True, eq=False)
class Penalty:
    """A penalty that is added to the loss of every step.

    Attributes:
        name: Name in checkpoints.
        strength: Factor of the penalty, above 0.
        function: Function of the model that returns the penalty, a scalar.
    """

    name: str
    strength: float
    function: Callable[[nn.Module], Tensor]

    def __call__(self, model: nn.Module) -> Tensor:
        """Return strength * function(model)."""
        return self.strength * self.function(model)


def batch_norm_l1(model: nn.Module) -> Tensor:
    """Return the sum of |g| over all gains g of batch norm layers (Network Slimming, Liu et al., ICCV 2017).

    Raises:
        UnsupportedModelError: If the model has no trainable gains.
    """
    return batch_norm_gains(model).abs().sum()


def polarization(model: nn.Module) -> Tensor:
    """Return the sum of t |g| - |g - mean(g)| over all gains g of batch norm layers, with t = 1.2.

    It draws some gains to 0 and the others to one value above 0 (Zhuang et al., NeurIPS 2020, equation 2).

    Raises:
        UnsupportedModelError: If the model has no trainable gains.
    """
    gains = batch_norm_gains(model)
    return (POLARIZATION_T * gains.abs() - (gains - gains.mean()).abs()).sum()


def batch_norm_gains(model: nn.Module) -> Tensor:
    """Return the trainable gains of all batch norm layers in one tensor.

    Raises:
        UnsupportedModelError: If there are none.
    """
    gains: list[Tensor] = [
        layer.weight
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.weight is not None and layer.weight.requires_grad
    ]
    if not gains:
        raise UnsupportedModelError("expected batch norm layers with trainable gains for the regularizer, got none")
    return torch.cat(gains)
