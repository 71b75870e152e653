"""The weights that may be masked: those of convolutions and linear layers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import ChannelGroup
from slimprune.measure import macs_by_parameter


@dataclass(frozen=True)
class PrunableWeight:
    """The weight of one convolution or linear layer.

    Attributes:
        name: Name of the parameter.
        shape: Its shape.
        macs: Multiply-accumulates of one sample in which its entries are a factor, each entry equally often.
        protected_reason: Why all its entries stay, or None.
        channels: Number of output channels of its layer.
    """

    name: str
    shape: tuple[int, ...]
    macs: int
    protected_reason: str | None = None
    channels: int = 0

    @property
    def count(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def layer(self) -> str:
        """Name of the module."""
        return self.name.rpartition(".")[0]

    @property
    def group(self) -> ChannelGroup:
        """The entries as a group of gates, for scoring."""
        return ChannelGroup(self.name, self.count, (), self.protected_reason)


def find_weights(model: nn.Module, example: Tensor, *, protect: Sequence[str] = ()) -> tuple[PrunableWeight, ...]:
    """Find the weights that may be masked, in the model's order; biases and norms are never masked.

    Args:
        model: Any module; it is not modified.
        example: Input [N, ...] on the model's device, for the count of MACs.
        protect: Names or patterns of layers that keep all their weights.

    Raises:
        UnsupportedModelError: If there is no convolution or linear layer, or the MACs cannot be counted.
        UsageError: If a pattern matches no such layer.
    """
    macs = macs_by_parameter(model, example[:1]).by_parameter
    found = [
        PrunableWeight(name, tuple(weight.shape), macs.get(name, 0), channels=channels)
        for name, weight, channels in _weights(model)
    ]
    if not found:
        raise UnsupportedModelError("expected a convolution or linear layer with weights to mask, got none")
    for pattern in protect:
        named = {weight.name for weight in found if fnmatchcase(weight.layer, pattern)}
        if not named:
            known = ", ".join(weight.layer for weight in found[:4])
            raise UsageError(f"--protect expects the name or pattern of a layer ({known}, ...), got {pattern!r}")
        reason = f"asked for by --protect {pattern}"
        found = [
            replace(weight, protected_reason=reason) if weight.name in named and not weight.protected_reason else weight
            for weight in found
        ]
    return tuple(found)


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, int]]:
    """Yield name, weight and output channels of all convolutions and linear layers, tied weights once."""
    channels = {
        id(layer._parameters.get("weight")): layer.out_channels if isinstance(layer, _ConvNd) else layer.out_features
        for layer in model.modules()
        if isinstance(layer, _ConvNd | nn.Linear) and layer._parameters.get("weight") is not None
    }
    for name, parameter in model.named_parameters():
        if id(parameter) in channels:
            yield name, parameter, channels[id(parameter)]
