"""Channels-last memory order: the channels of a pixel lie side by side, as fast convolutions read them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import first_line


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


def channels_last(inputs: Any) -> Any:
    """Images [N, C, H, W] in channels-last order; other inputs as they are."""
    return _ordered(inputs, torch.channels_last)


@dataclass(eq=False)
class MemoryOrder:
    """Channels-last order of a model's weights and images, until the model turns out not to take it.

    Attributes:
        model: its 4-D weights are in channels-last order.
        refused: whether it did not take it, as one does not that views the output of a convolution as rows.
    """

    model: nn.Module
    refused: bool = field(default=False, init=False)

    def images(self, inputs: Any) -> Any:
        """Images [N, C, H, W] in the order of the weights; other inputs as they are."""
        return _ordered(inputs, torch.contiguous_format if self.refused else torch.channels_last)

    def refuse(self) -> None:
        """Puts the weights into the usual order for good."""
        self.refused = True
        _arrange([weight for weight in self.model.parameters() if weight.ndim == 4], torch.contiguous_format)


@dataclass(eq=False)
class Retried:
    """Work whose first call is made once more, in the usual memory order, if it fails in channels-last order.

    Attributes:
        work: puts its images into the `order`.
        order: of the model that works.
        note: hears in one line why the order was given up.
        snapshot: keeps all that the work changes and returns what puts it back.
    """

    work: Callable[..., Any]
    order: MemoryOrder
    note: Callable[[str], None]
    snapshot: Callable[[], Callable[[], None]]
    _done: bool = field(default=False, init=False)

    def __call__(self, *arguments: Any) -> Any:
        """The work on these arguments."""
        if self._done or self.order.refused:
            return self.work(*arguments)
        restore = self.snapshot()
        try:
            result = self.work(*arguments)
        except RuntimeError as error:
            restore()
            self.order.refuse()
            self.note(f"not in channels-last order: {first_line(error)}")
            result = self.work(*arguments)
        self._done = True
        return result


def _ordered(inputs: Any, order: torch.memory_format) -> Any:
    images = isinstance(inputs, Tensor) and inputs.ndim == 4
    return inputs.contiguous(memory_format=order) if images else inputs


def _arrange(weights: list[nn.Parameter], order: torch.memory_format) -> None:
    for weight in weights:
        weight.data = weight.data.contiguous(memory_format=order)
