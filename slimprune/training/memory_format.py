"""Channels-last memory order, in which the channels of a pixel are adjacent, for fast convolutions."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import first_line

_LANES = 8
"""Number of float32 channels in an AVX2 vector register."""


@contextmanager
def channels_last_weights(model: nn.Module) -> Iterator[None]:
    """Keep the model's 4-D weights in channels-last order in the context; restore the default order afterwards."""
    usual = to_channels_last(model)
    try:
        yield
    finally:
        _arrange(usual, torch.contiguous_format)


def to_channels_last(model: nn.Module) -> list[nn.Parameter]:
    """Convert the model's 4-D weights to channels-last order and return those that were in the default order."""
    usual = [weight for weight in model.parameters() if weight.ndim == 4 and weight.is_contiguous()]
    _arrange(usual, torch.channels_last)
    return usual


def channels_last(inputs: Any) -> Any:
    """Return images [N, C, H, W] in channels-last order; other inputs are returned unchanged."""
    return _ordered(inputs, torch.channels_last)


@dataclass(eq=False)
class MemoryOrder:
    """Channels-last order of a model's weights and images, if the model supports it.

    Some models do not: a convolution's output in this order cannot be viewed as rows. This is tested with the first
    images on a copy.

    Attributes:
        model: Model whose 4-D weights are in channels-last order; they are converted to the default order if the model
            does not support it.
        note: Called with the reason, in one line, if the model does not support it.
    """

    model: nn.Module
    note: Callable[[str], None]
    _order: torch.memory_format | None = field(default=None, init=False)

    def images(self, inputs: Any) -> Any:
        """Return images [N, C, H, W] in the order that the model supports; other inputs are returned unchanged."""
        if self._order is None:
            refusal = self._refusal(inputs)
            self._order = torch.contiguous_format if refusal else torch.channels_last
            if refusal:
                _arrange(_filters(self.model), torch.contiguous_format)
                self.note(f"not in channels-last order: {refusal}")
        return _ordered(inputs, self._order)

    def _refusal(self, inputs: Any) -> str | None:
        """Return why the model does not support channels-last order; None if it does, or fails in both orders."""
        if not (isinstance(inputs, Tensor) and inputs.ndim == 4 and _filters(self.model)):
            return None
        narrow = _corrupting_convolution(self.model) if inputs.device.type == "cpu" else None
        if narrow is not None:
            return f"{narrow} is a 1x1 convolution with a stride over fewer than {_LANES} channels"
        try:
            copied = copy.deepcopy(self.model)
        except (RuntimeError, TypeError):  # not copyable (a lock, a stream); a failure then shows in the first step
            return None
        failure = _failure(copied, channels_last(inputs))
        _arrange(_filters(copied), torch.contiguous_format)
        return failure if failure and _failure(copied, inputs) is None else None


def _corrupting_convolution(model: nn.Module) -> str | None:
    """Return the first convolution whose backward pass writes beyond its memory in channels-last order on a CPU.

    Found with torch 2.14.1 on a CPU with AVX2: 1x1 kernels with a stride, over 1 to 7 channels, corrupt the heap.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels // layer.groups < _LANES:
            return str(name)
    return None


def _failure(model: nn.Module, inputs: Any) -> str | None:
    """Return the error message of a failing forward pass in training or eval mode; None if neither fails."""
    devices = {tensor.device for tensor in model.parameters() if tensor.is_cuda}
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            for training in (True, False):
                model.train(training)(inputs)
    except RuntimeError as error:
        return first_line(error)
    return None


def _filters(model: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in model.parameters() if weight.ndim == 4]


def _ordered(inputs: Any, order: torch.memory_format) -> Any:
    images = isinstance(inputs, Tensor) and inputs.ndim == 4
    return inputs.contiguous(memory_format=order) if images else inputs


def _arrange(weights: Iterable[nn.Parameter], order: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=order)
