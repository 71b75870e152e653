"""Operators for Hessian products: convolutions without redundant work, and twice differentiable hard sigmoids."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_DIMENSIONS: Mapping[Any, int] = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
_HARD_SIGMOIDS = (F.hardsigmoid, torch._C._nn.hardsigmoid)
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")

Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]
"""Stride, padding, dilation, transposed, output padding and groups, as `aten.convolution` takes them."""


class SecondOrder(TorchFunctionMode):
    """Mode that replaces operators by versions made for second derivatives.

    Convolutions are replaced by `_Convolution`, whose second derivatives are single convolutions. Hard sigmoids, which
    torch can differentiate only once, are replaced by operators that it can differentiate twice.

    A Hessian product by double backward takes nine products of a convolution's size. One is the gradient with respect
    to the kernel, whose value is never read if the kernel is a slice of the weight vector; it is left out unless
    `gradient_read`. Torch's own double backward also rearranges its operands, which costs time and memory.

    Args:
        weights: The vector [P] with respect to which the loss is differentiated.
        gradient_read: Whether the gradient itself is used, in addition to its derivatives.
    """

    def __init__(self, weights: Tensor, *, gradient_read: bool) -> None:
        super().__init__()
        self._vector = weights.untyped_storage().data_ptr()
        self._gradient_read = gradient_read

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _HARD_SIGMOIDS:
            return F.relu6(args[0] + 3) / 6
        given = {**dict(zip(_ARGUMENTS, args, strict=False)), **(kwargs or {})}
        if func not in _DIMENSIONS or not _is_plain(given, _DIMENSIONS[func]):
            return func(*args, **(kwargs or {}))
        weight, bias = given["weight"], given.get("bias")
        read = self._gradient_read or weight.untyped_storage().data_ptr() != self._vector
        output = _Convolution.apply(given["input"], weight, _geometry(given, _DIMENSIONS[func]), read)
        return output if bias is None else output + bias.view(-1, *[1] * _DIMENSIONS[func])


def _is_plain(given: Mapping[str, Any], dimensions: int) -> bool:
    """Return whether the input is a batch with numeric padding; anything else is left to torch."""
    return given["input"].ndim == dimensions + 2 and not isinstance(given.get("padding", 0), str)


def _geometry(given: Mapping[str, Any], dimensions: int) -> Geometry:
    def spread(name: str, default: int) -> list[int]:
        value = given.get(name, default)
        values = [value] if isinstance(value, int) else list(value)
        return values * (dimensions // len(values))

    stride, padding, dilation = spread("stride", 1), spread("padding", 0), spread("dilation", 1)
    return stride, padding, dilation, False, [0] * dimensions, given.get("groups", 1)


def _convolved(inputs: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    outputs: Tensor = torch.ops.aten.convolution(inputs, weight, None, *geometry)
    return outputs


def _pulled_back(
    output: Tensor, inputs: Tensor, weight: Tensor, geometry: Geometry, *, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the adjoint of a convolution at `output`, for its inputs and its weight if wanted."""
    to_inputs, to_weight, _ = torch.ops.aten.convolution_backward(
        output, inputs, weight, None, *geometry, [*wanted, False]
    )
    return to_inputs, to_weight


class _Convolution(torch.autograd.Function):
    """Convolution of input [N, C, ...] and weight [K, C / groups, ...] to output [N, K, ...]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, geometry: Geometry, weight_gradient_read: bool) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.geometry, ctx.weight_gradient_read = geometry, weight_gradient_read
        return _convolved(inputs, weight, geometry)

    @staticmethod
    def backward(ctx: Any, output_bar: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, weight = ctx.saved_tensors
        # Without a graph this is the second differentiation, whose result is read.
        read = ctx.weight_gradient_read or not torch.is_grad_enabled()
        bars = _ConvolutionBackward.apply(output_bar, inputs, weight, ctx.geometry, ctx.needs_input_grad[:2], read)
        return *bars, None, None


class _ConvolutionBackward(torch.autograd.Function):
    """The gradients of a convolution, which can be differentiated once more."""

    @staticmethod
    def forward(
        ctx: Any,
        output_bar: Tensor,
        inputs: Tensor,
        weight: Tensor,
        geometry: Geometry,
        wanted: tuple[bool, bool],
        weight_gradient_read: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(output_bar, inputs, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        to_inputs, to_weight = wanted
        computed = (to_inputs, to_weight and weight_gradient_read)
        inputs_bar, weight_bar = _pulled_back(output_bar, inputs, weight, geometry, wanted=computed)
        if to_weight and not weight_gradient_read:
            weight_bar = weight.new_zeros(()).expand(weight.shape)
        return inputs_bar, weight_bar

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along_inputs: Tensor | None, along_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        output_bar, inputs, weight = ctx.saved_tensors
        geometry, (needs_output, needs_inputs, needs_weight) = ctx.geometry, ctx.needs_input_grad[:3]
        to_output = to_inputs = to_weight = None
        if along_inputs is not None and needs_output:
            to_output = _convolved(along_inputs, weight, geometry)
        if along_weight is not None and needs_output:
            other = _convolved(inputs, along_weight, geometry)
            to_output = other if to_output is None else to_output + other
        if along_weight is not None and needs_inputs:
            to_inputs, _ = _pulled_back(output_bar, inputs, along_weight, geometry, wanted=(True, False))
        if along_inputs is not None and needs_weight:
            _, to_weight = _pulled_back(output_bar, along_inputs, weight, geometry, wanted=(False, True))
        return to_output, to_inputs, to_weight, None, None, None
