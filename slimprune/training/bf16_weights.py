"""bfloat16 copies of float32 weights, updated together instead of cast one by one in every layer."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

_CAST_BY_AUTOCAST = {
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
}
"""Exact types, without subclasses, which may use their weights in operations that need float32."""


class _Copy(NamedTuple):
    master: nn.Parameter
    low: nn.Parameter
    places: list[tuple[nn.Module, str]]


class Bf16Weights:
    """bfloat16 weights of convolutions and linear layers, for forward and backward passes under autocast.

    Autocast casts the same weights, but one by one. The optimizer, checkpoints and all other code continue to use the
    float32 master weights. Normalisation layers use float32 weights in the passes as well, as do weights that are
    shared with other kinds of layers.

    Args:
        model: Model whose float32 weights are copied, in the memory order that they have when the copies are first
            used. From then on they must not be moved in memory.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    @cached_property
    def _copies(self) -> list[_Copy]:
        places: dict[nn.Parameter, list[tuple[nn.Module, str]]] = defaultdict(list)
        for module in self._model.modules():
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                places[parameter].append((module, name))
        return [
            _Copy(master, _lowered(master), own)
            for master, own in places.items()
            if master.dtype == torch.float32 and all(type(module) in _CAST_BY_AUTOCAST for module, _ in own)
        ]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Use copies of the current weights in the model, and afterwards pass their gradients to the master weights."""
        _copy_all([copy.master for copy in self._copies], [copy.low for copy in self._copies])
        try:
            for copy in self._copies:
                _put(copy.low, copy.places)
            yield
            self._hand_over_gradients()
        finally:
            for copy in self._copies:
                _put(copy.master, copy.places)
                copy.low.grad = None

    def _hand_over_gradients(self) -> None:
        pairs = [(copy.master, copy.low.grad) for copy in self._copies if copy.low.grad is not None]
        gradients = [torch.empty_like(master) for master, _ in pairs]
        _copy_all([low for _, low in pairs], gradients)
        for (master, _), gradient in zip(pairs, gradients, strict=True):
            master.grad = gradient


def _lowered(master: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(master.detach().to(torch.bfloat16), requires_grad=master.requires_grad)


@torch.no_grad()
def _copy_all(sources: list[Tensor], targets: list[Tensor]) -> None:
    if sources:  # torch requires at least one
        torch._foreach_copy_(targets, sources)


def _put(parameter: nn.Parameter, places: list[tuple[nn.Module, str]]) -> None:
    for module, name in places:
        setattr(module, name, parameter)
