"""Optimal brain surgeon for channels: the loss that is left once the remaining weights make up for a channel."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Slot
from slimprune.regression import (
    Elimination,
    InputRows,
    LinearLayer,
    Moments,
    as_matrix,
    obstacle,
    position_count,
    weight_matrix,
)
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register

_FEWEST_ROWS, _ROWS_PER_INPUT = 4096, 4
"""Number of positions from which the sums are made: at least, and for each input of a layer."""
_RISE = 1 + 1e-12
"""Least ratio of two scores that follow each other, so that the scores tell the order of removal."""


@register(
    "obs",
    "growth of the loss once other weights make up for it, for trained networks (Hassibi, Stork, NeurIPS 1992)",
)
@dataclass(frozen=True)
class OptimalBrainSurgeon:
    """Greedy removal, each time of the channel that the remaining weights of its readers make up for best.

    Take a layer that reads the group, its inputs x, its weights W and the gradients g_k of the loss with respect to its
    outputs. When the inputs J of a channel go and the other weights are solved anew, the loss grows by about
    sum_k E[g_k^2] * W_Jk^T (P_JJ)^-1 W_Jk, with P the inverse of the Gram matrix of the centred x plus a ridge. Several
    readers of a group add up. After each removal, P and W are those of the inputs that are left. The score of a channel
    is the growth at its removal, or the score of the channel before it if that is larger.

    Attributes:
        ridge: Ridge relative to the mean square of the inputs; above 0.

    Raises:
        UsageError: If `ridge` is not above 0.

    Source: Hassibi and Stork, Optimal Brain Surgeon (NeurIPS 1992), equation 5, for blocks of weights, with the
    Kronecker-factored Hessian of Martens and Grosse (2015) whose second factor is taken as diagonal.
    """

    ridge: float = 1e-3
    steps = 0
    batches_per_draw = 1
    deterministic = False

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise UsageError(f"expected ridge > 0, got {self.ridge}")

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UnsupportedModelError: If a group is read by no convolution or linear layer.
        """
        readers = {group.id: _readers(problem.network, group) for group in problem.groups}
        seen = _observed(problem, {slot.layer for slots in readers.values() for slot in slots})
        found = {}
        for group in problem.groups:
            parts = [part for slot in readers[group.id] for part in _parts(problem.network, slot, seen, self.ridge)]
            if not parts:
                raise UnsupportedModelError(f"expected a layer that reads {group.id} and was called once, got none")
            found[group.id] = _scores(group.width, parts)
        return found


@dataclass(eq=False)
class _Observed:
    """Inputs and output gradients of a layer in one forward and backward pass.

    Attributes:
        calls: Number of calls.
        inputs: Inputs of the last call.
        sizes: Sizes of its outputs behind the channels.
        positions: Number of its output positions.
        squares: Mean square of the gradient for each output, [K].
    """

    calls: int = 0
    inputs: Tensor | None = None
    sizes: Sequence[int] = ()
    positions: int = 0
    squares: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Part:
    """An elimination for some channels of a group.

    Attributes:
        elimination: The elimination, with one block for each of the channels.
        channels: Channels of the group, int64 [B].
        scale: Factor by which its errors enter the loss.
    """

    elimination: Elimination
    channels: Tensor
    scale: float


def _readers(network: nn.Module, group: ChannelGroup) -> list[Slot]:
    return [slot for slot in group.slots_of("consumer") if obstacle(network.get_submodule(slot.layer)) is None]


def _observed(problem: Problem, layers: set[str]) -> dict[str, _Observed]:
    """Run one batch forward and backward and return what the layers saw."""
    seen = {name: _Observed() for name in sorted(layers)}
    with ExitStack() as hooks:
        for name, found in seen.items():
            layer = problem.network.get_submodule(name)
            hooks.enter_context(layer.register_forward_hook(partial(_record, found)))
        weights = problem.initial.clone().requires_grad_()
        torch.autograd.grad(problem.loss_at(weights, 0), weights)
    return seen


def _record(found: _Observed, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    def keep(gradient: Tensor) -> None:
        by_output = gradient.movedim(1 if isinstance(layer, _ConvNd) else -1, 0)
        found.squares = by_output.flatten(1).double().square().mean(1)

    found.calls += 1
    found.inputs, found.sizes = inputs[0].detach(), output.shape[2:]
    found.positions = position_count(cast(LinearLayer, layer), output)
    output.register_hook(keep)


def _parts(network: nn.Module, slot: Slot, seen: Mapping[str, _Observed], ridge: float) -> Iterator[_Part]:
    """Yield the eliminations for a slot, one for each convolution group that reads channels of it."""
    layer, found = cast(LinearLayer, network.get_submodule(slot.layer)), seen[slot.layer]
    if found.calls != 1 or found.inputs is None or found.squares is None:
        return
    rows = InputRows(layer, found.inputs, found.sizes)
    weights = weight_matrix(layer).double()
    limit = max(_FEWEST_ROWS, _ROWS_PER_INPUT * weights.shape[1])
    step = max(1, found.positions // limit)
    x = rows.at(torch.arange(0, found.positions, step, device=found.inputs.device))
    gram = Moments.of(x, x.new_zeros(*x.shape[:2], 1)).centred().xx
    outputs = found.squares.view(len(weights), 1, -1).to(weights)
    for part, (channels, blocks) in enumerate(_blocks(layer, slot)):
        penalty = ridge * gram[part].diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
        damped = gram[part] + penalty * torch.eye(len(gram[part])).to(gram)
        scaled = weights[part] * outputs[part].sqrt()
        yield _Part(Elimination(damped, scaled, blocks), channels, found.positions / x.shape[1])


def _blocks(layer: LinearLayer, slot: Slot) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each convolution group the channels [B] that it reads and their inputs [B, M]."""
    owners = torch.full([layer.weight.shape[slot.dim]], -1)
    owners[slot.index] = torch.arange(len(slot.index))[:, None]
    shape = [-1 if dim == slot.dim else 1 for dim in range(layer.weight.ndim)]
    for owner in as_matrix(layer, owners.view(shape).expand(layer.weight.shape))[:, :, 0]:
        channels = owner[owner >= 0].unique()
        yield channels, torch.stack([(owner == channel).nonzero().flatten() for channel in channels.tolist()])


def _scores(width: int, parts: Sequence[_Part]) -> Tensor:
    """Return the scores [width] of the channels by the order of their removal."""
    scores, last = torch.zeros(width, dtype=torch.float64), 0.0
    left = torch.ones(width, dtype=torch.bool)
    for _ in range(width):
        growth = torch.zeros(width, dtype=torch.float64)
        for part in parts:
            growth.index_add_(0, part.channels, part.scale * part.elimination.errors().cpu())
        growth[~left] = float("inf")
        channel = int(growth.argmin())
        last = max(last * _RISE, float(growth[channel]))
        scores[channel], left[channel] = last, False
        for part in parts:
            for block in (part.channels == channel).nonzero().flatten().tolist():
                part.elimination.remove(block)
    return scores
