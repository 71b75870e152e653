"""The rows of inputs that a layer multiplies by its weight matrix."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slimprune.regression.layers import LinearLayer, group_count


def position_count(layer: LinearLayer, outputs: Tensor) -> int:
    """Return the number of output positions: samples times places, or all leading dimensions of a linear layer."""
    return outputs.numel() // outputs.shape[1 if isinstance(layer, _ConvNd) else -1]


def output_rows(layer: LinearLayer, outputs: Tensor, positions: Tensor) -> Tensor:
    """Return the outputs [R, K] of a layer at the given positions.

    Args:
        layer: The layer.
        outputs: Its outputs, [N, K, *sizes] of a convolution or [..., K] of a linear layer.
        positions: Int64 [R], each the number of a sample and place in row-major order.
    """
    if isinstance(layer, nn.Linear):
        return outputs.reshape(-1, outputs.shape[-1])[positions]
    flat = outputs.flatten(2)
    return flat[positions // flat.shape[2], :, positions % flat.shape[2]]


class InputRows:
    """The inputs that each output position of a layer reads.

    A transposed convolution is treated as a convolution of stride 1 over its inputs with zeros between them.

    Args:
        layer: The layer.
        inputs: Its inputs, [N, C, *sizes] of a convolution or [..., C] of a linear layer.
        sizes: Sizes of the output of a convolution; see `output_sizes`.
    """

    def __init__(self, layer: LinearLayer, inputs: Tensor, sizes: Sequence[int]) -> None:
        self._groups = group_count(layer)
        self._sizes = tuple(sizes)
        self._offsets: Tensor | None = None
        if isinstance(layer, nn.Linear):
            self._inputs = inputs.reshape(-1, inputs.shape[-1])
            return
        stride = (1,) * len(sizes) if layer.transposed else layer.stride
        padded = _spread(layer, inputs, sizes) if layer.transposed else _padded(layer, inputs)
        steps = _row_major(padded.shape[2:])
        self._inputs = padded.flatten(2)
        self._offsets = _grid(layer.kernel_size, [step * d for step, d in zip(steps, layer.dilation, strict=True)])
        self._starts = _grid(sizes, [step * s for step, s in zip(steps, stride, strict=True)])

    def at(self, positions: Tensor) -> Tensor:
        """Return the rows [G, R, D] at the given positions, int64 [R].

        D counts the inputs of a group: channel by channel, and within a channel in the order of the kernel.
        """
        if self._offsets is None:
            return self._inputs[positions][None]
        places = len(self._starts)
        read = self._starts.to(positions.device)[positions % places, None] + self._offsets.to(positions.device)
        patches = self._inputs[(positions // places)[:, None], :, read].transpose(1, 2)
        by_group: Tensor = patches.unflatten(1, (self._groups, -1))
        return by_group.flatten(2).transpose(0, 1)


def _padded(layer: _ConvNd, inputs: Tensor) -> Tensor:
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, layer._reversed_padding_repeated_twice, mode)


def _spread(layer: _ConvNd, inputs: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the inputs of a transposed convolution with zeros between and around them."""
    spread = [(size - 1) * step + 1 for size, step in zip(inputs.shape[2:], layer.stride, strict=True)]
    padded = inputs.new_zeros((*inputs.shape[:2], *spread))
    padded[(slice(None), slice(None), *(slice(None, None, step) for step in layer.stride))] = inputs
    borders = []
    for dim, size in enumerate(sizes):
        reach = layer.dilation[dim] * (layer.kernel_size[dim] - 1)
        before = reach - int(layer.padding[dim])
        borders.append((before, size + reach - spread[dim] - before))
    return F.pad(padded, [border for pair in reversed(borders) for border in pair])


def _row_major(sizes: Sequence[int]) -> list[int]:
    """Return the distance in memory between neighbours along each dimension."""
    return [math.prod(sizes[dim + 1 :]) for dim in range(len(sizes))]


def _grid(sizes: Sequence[int], steps: Sequence[int]) -> Tensor:
    """Return the sums of multiples of the steps over a grid of the given sizes, int64 [product of the sizes]."""
    total = torch.zeros((), dtype=torch.int64)
    for size, step in zip(sizes, steps, strict=True):
        total = total[..., None] + step * torch.arange(size)
    return total.flatten()
