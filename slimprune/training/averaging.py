"""Exponential moving average of the weights during training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn

from slimprune.errors import UnsupportedModelError, VerificationError, first_line
from slimprune.training.distributed import unwrap

AVERAGED = "averaged."
"""First part of the names under which averaged tensors are stored."""


class Averaging:
    """Exponential moving average of a model's parameters and buffers, updated after every step.

    After n updates the average moves by 1 - min(decay, (1 + n) / (10 + n)) towards the current tensors. The second
    term, the warm-up of TensorFlow's ExponentialMovingAverage, keeps the initial weights from dominating short
    trainings.

    Args:
        model: Model that is trained; the average starts as a copy of it.
        decay: Decay in (0, 1).

    Raises:
        UnsupportedModelError: If the model cannot be copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = unwrap(model)
        self._decay = decay
        try:
            self._averaged = AveragedModel(self._model, multi_avg_fn=self._move, use_buffers=True)
        except (RuntimeError, TypeError) as error:
            raise UnsupportedModelError(
                f"expected a model that can be copied for ema, got {first_line(error)}"
            ) from error

    def update(self) -> None:
        """Move the average towards the model's current tensors."""
        self._averaged.update_parameters(self._model)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Put the averaged tensors into the model for the context."""
        current = {name: tensor.detach().clone() for name, tensor in _tensors(self._model).items()}
        self.hand_over()
        try:
            yield
        finally:
            _copy(current, _tensors(self._model))

    def hand_over(self) -> None:
        """Copy the averaged tensors into the model."""
        _copy(_tensors(self._averaged.module), _tensors(self._model))

    def buffers(self) -> Iterator[Tensor]:
        """Return the averaged buffers themselves."""
        return self._averaged.module.buffers()

    def tensors(self) -> dict[str, Tensor]:
        """Return CPU copies of the averaged tensors and the number of updates; the names start with `AVERAGED`."""
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in self._named().items()
        }

    def check(self, saved: Mapping[str, Tensor]) -> None:
        """Check that tensors from `tensors` fit.

        Raises:
            VerificationError: If a name, shape or dtype differs.
        """
        own = self._named()
        if own.keys() != saved.keys():
            name = min(own.keys() ^ saved.keys())
            raise VerificationError(f"expected a checkpoint of this model, got {name} on one side only")
        for name, tensor in own.items():
            if (tensor.shape, tensor.dtype) != (saved[name].shape, saved[name].dtype):
                rule = f"expected {name} of {list(tensor.shape)} {tensor.dtype} in the checkpoint"
                raise VerificationError(f"{rule}, got {list(saved[name].shape)} {saved[name].dtype}")

    def fill(self, saved: Mapping[str, Tensor]) -> None:
        """Copy tensors from `tensors`, which fit, into the average."""
        _copy(saved, self._named())

    def _named(self) -> dict[str, Tensor]:
        named = {f"{AVERAGED}{name}": tensor for name, tensor in _tensors(self._averaged.module).items()}
        return {**named, f"{AVERAGED}updates": self._averaged.n_averaged}

    def _move(self, averaged: PARAM_LIST, current: PARAM_LIST, updates: Tensor | int) -> None:
        done = int(self._averaged.n_averaged)  # on the CPU; `updates` is its copy on the device of the tensors
        decay = min(self._decay, (1 + done) / (10 + done))
        get_ema_multi_avg_fn(decay)(averaged, current, updates)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(chain(model.named_parameters(), model.named_buffers()))


@torch.no_grad()
def _copy(sources: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])
