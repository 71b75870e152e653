"""Layers whose output is linear in their weights, and their weights as matrices."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

LinearLayer = nn.Linear | _ConvNd
"""A linear layer, a convolution or a transposed convolution."""

_KINDS: tuple[type[LinearLayer], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def obstacle(layer: nn.Module) -> str | None:
    """Return why the output of a layer is not known to be linear in its weights; None if it is.

    Subclasses count if they compute their output as their base class does.
    """
    kind = next((kind for kind in _KINDS if isinstance(layer, kind)), None)
    if kind is None:
        return "no convolution or linear layer"
    if any(getattr(type(layer), name, None) is not getattr(kind, name, None) for name in ("forward", "_conv_forward")):
        return f"{type(layer).__name__} computes its output in its own way"
    return None if "weight" in layer._parameters else "its weight is computed from other parameters"


def group_count(layer: LinearLayer) -> int:
    """Return the number of convolution groups, 1 for a linear layer."""
    return layer.groups if isinstance(layer, _ConvNd) else 1


def output_channels(layer: LinearLayer) -> Tensor:
    """Return the output channel to which each entry of the weight belongs, int64 in the weight's shape."""
    shape = layer.weight.shape
    numbers = torch.arange(shape[0])[:, None]
    if _is_transposed(layer):
        numbers = numbers // (shape[0] // group_count(layer)) * shape[1] + torch.arange(shape[1])
    return numbers.view(*numbers.shape, *[1] * (len(shape) - 2)).expand(shape)


def weight_matrix(layer: LinearLayer) -> Tensor:
    """Return the weights as matrices [G, D, K / G], one for each convolution group.

    The outputs of the layer are rows @ matrix + bias; see `InputRows` for the rows [G, R, D].
    """
    return as_matrix(layer, layer.weight.detach())


def as_matrix(layer: LinearLayer, tensor: Tensor) -> Tensor:
    """Return a tensor in the shape of a layer's weight as matrices [G, D, K / G]; see `weight_matrix`."""
    by_group: Tensor = tensor.unflatten(0, (group_count(layer), -1))
    if _is_transposed(layer):
        return by_group.flatten(3).flip(3).transpose(2, 3).flatten(1, 2)
    return by_group.flatten(2).transpose(1, 2)


def weight_of(layer: LinearLayer, matrix: Tensor) -> Tensor:
    """Return the weight, in the shape of the layer's own, that belongs to matrices [G, D, K / G]."""
    if _is_transposed(layer):
        by_channel: Tensor = matrix.unflatten(1, (layer.weight.shape[0] // group_count(layer), -1))
        return by_channel.transpose(2, 3).flip(3).reshape(layer.weight.shape)
    return matrix.transpose(1, 2).reshape(layer.weight.shape)


def _is_transposed(layer: LinearLayer) -> bool:
    return isinstance(layer, _ConvNd) and layer.transposed
