"""Channels-last memory order: the channels of a pixel lie side by side, as fast convolutions read them."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import first_line

_LANES = 8
"""Channels that a vector register of AVX2 holds, in float32."""


@contextmanager
def channels_last_weights(model: nn.Module) -> Iterator[None]:
    """The model with its 4-D weights in channels-last order, and in the usual order again afterwards."""
    usual = to_channels_last(model)
    try:
        yield
    finally:
        _arrange(usual, torch.contiguous_format)


def to_channels_last(model: nn.Module) -> list[nn.Parameter]:
    """Puts the model's 4-D weights into channels-last order and returns those that were in the usual one."""
    usual = [weight for weight in model.parameters() if weight.ndim == 4 and weight.is_contiguous()]
    _arrange(usual, torch.channels_last)
    return usual


def channels_last(inputs: Any) -> Any:
    """Images [N, C, H, W] in channels-last order; other inputs as they are."""
    return _ordered(inputs, torch.channels_last)


@dataclass(eq=False)
class MemoryOrder:
    """Channels-last order of a model's weights and images, where the model takes it.

    Some do not: the output of a convolution in this order cannot be viewed as rows. The first images decide, on a copy.

    Attributes:
        model: its 4-D weights are in channels-last order, and put into the usual one if it does not take it.
        note: hears in one line why it does not.
    """

    model: nn.Module
    note: Callable[[str], None]
    _order: torch.memory_format | None = field(default=None, init=False)

    def images(self, inputs: Any) -> Any:
        """Images [N, C, H, W] in the order that the model takes; other inputs as they are."""
        if self._order is None:
            refusal = self._refusal(inputs)
            self._order = torch.contiguous_format if refusal else torch.channels_last
            if refusal:
                _arrange(_filters(self.model), torch.contiguous_format)
                self.note(f"not in channels-last order: {refusal}")
        return _ordered(inputs, self._order)

    def _refusal(self, inputs: Any) -> str | None:
        """What a copy of the model says against channels-last order, and not against the usual one."""
        if not (isinstance(inputs, Tensor) and inputs.ndim == 4 and _filters(self.model)):
            return None
        narrow = _corrupting_convolution(self.model) if inputs.device.type == "cpu" else None
        if narrow is not None:
            return f"{narrow} is a 1x1 convolution with a stride over fewer than {_LANES} channels"
        try:
            copied = copy.deepcopy(self.model)
        except (RuntimeError, TypeError):  # what holds a lock or a stream; then the first step shows it
            return None
        failure = _failure(copied, channels_last(inputs))
        _arrange(_filters(copied), torch.contiguous_format)
        return failure if failure and _failure(copied, inputs) is None else None


def _corrupting_convolution(model: nn.Module) -> str | None:
    """The first convolution whose backward pass writes past its memory in channels-last order on a CPU.

    Found with torch 2.14.1 on a CPU with AVX2: 1x1 kernels with a stride, over 1 to 7 channels, corrupt the heap.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels // layer.groups < _LANES:
            return str(name)
    return None


def _failure(model: nn.Module, inputs: Any) -> str | None:
    """What a forward pass in training or in eval mode says when it fails; None if neither does."""
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
