"""Channels-last memory order: the channels of a pixel lie side by side, as fast convolutions read them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def channels_last_weights(model: nn.Module) -> Iterator[None]:
    """The model with its 4-D weights in channels-last order, and in the usual order again afterwards."""
    usual = lay_channels_last(model)
    try:
        yield
    finally:
        _arrange(usual, torch.contiguous_format)


def lay_channels_last(model: nn.Module) -> list[nn.Parameter]:
    """Puts the model's 4-D weights into channels-last order and returns those that were in the usual one."""
    usual = [weight for weight in model.parameters() if weight.ndim == 4 and weight.is_contiguous()]
    _arrange(usual, torch.channels_last)
    return usual


def channels_last(inputs: Tensor) -> Tensor:
    """Images [N, C, H, W] in channels-last order; other inputs as they are."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


def _arrange(weights: list[nn.Parameter], order: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=order)
