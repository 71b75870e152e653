"""Two trainings from one state: batches that change their order at a step, and the line between two networks."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import nn

from slimprune.training.batches import Batches, count_batches, set_epoch


@dataclass
class BranchedBatches:
    """The batches of one order up to a step of the training, and those of another order from there on.

    In the epoch of the branch the other order goes on at the same place, so that an epoch has as many batches as ever.

    Attributes:
        trunk: Batches of the first order.
        branch: Batches of the other order, as many.
        step: Number of steps with batches of the first order, at least 0.
    """

    trunk: Batches
    branch: Batches
    step: int
    _epoch: int = field(default=1, init=False)

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch, from 1, of the following iterations."""
        self._epoch = epoch
        set_epoch(self.trunk, epoch)
        set_epoch(self.branch, epoch)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return count_batches(self.trunk)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of the selected epoch."""
        shared = min(max(0, self.step - (self._epoch - 1) * len(self)), len(self))
        if shared > 0:
            yield from islice(self.trunk, shared)
        if shared < len(self):
            yield from islice(self.branch, shared, None)


def between(first: nn.Module, second: nn.Module, share: float) -> nn.Module:
    """Return a network on the line between two: its weights are (1 - share) * first + share * second.

    Buffers, such as running statistics, and the mode are those of `first`.

    Args:
        first: Network at share 0; it is not modified.
        second: Network with the same parameters.
        share: Place on the line.
    """
    made = copy.deepcopy(first)
    others = dict(second.named_parameters())
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.lerp_(others[name].to(parameter.device), share)
    return made


def distance(first: nn.Module, second: nn.Module) -> float:
    """Return the Euclidean distance between the parameters of two networks."""
    others = dict(second.named_parameters())
    with torch.no_grad():
        squares = [
            (one.double() - others[name].to(one.device).double()).square().sum().item()
            for name, one in first.named_parameters()
        ]
    return math.sqrt(sum(squares))
