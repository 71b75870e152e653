"""What masks leave: the network with zeros, and the sparsity of every layer."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slimprune.masks.layers import PrunableWeight


@dataclass(frozen=True)
class LayerSparsity:
    """The weights of one layer that stay.

    Attributes:
        layer: Name of the module.
        channels: Number of its output channels.
        weights: Number of its weights, biases apart.
        kept: Number of those that stay.
        macs: Its multiply-accumulates for one sample.
        sparse_macs: Those in which a weight that stays is a factor; an engine for sparse weights could skip the others.
        protected_reason: Why all its weights stay, or None.
    """

    layer: str
    channels: int
    weights: int
    kept: int
    macs: int
    sparse_macs: int
    protected_reason: str | None = None

    @property
    def sparsity(self) -> float:
        """Share of the weights that are masked."""
        return 1 - self.kept / self.weights


def sparsity_of(layers: Sequence[PrunableWeight], masks: Mapping[str, Tensor]) -> tuple[LayerSparsity, ...]:
    """Return the sparsity of every layer; one without a mask keeps all its weights.

    Every entry of a weight is a factor of equally many products, zeros of the padding included.
    """
    found = []
    for layer in layers:
        kept = int(masks[layer.name].sum()) if layer.name in masks else layer.count
        macs = round(layer.macs * kept / layer.count)
        found.append(
            LayerSparsity(layer.layer, layer.channels, layer.count, kept, layer.macs, macs, layer.protected_reason)
        )
    return tuple(found)


def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a model in which masked weights are zero."""
    copied = copy.deepcopy(model)
    parameters = dict(copied.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].masked_fill_(~mask.to(parameters[name].device), 0)
    return copied
