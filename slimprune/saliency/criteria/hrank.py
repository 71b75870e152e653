"""HRank: the average rank of the feature maps of a channel."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph import ChannelGroup
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("hrank", "average rank of the channel's feature maps, for trained networks (Lin et al., CVPR 2020)")
@dataclass(frozen=True)
class HRank:
    """Average rank: s_j = mean of the rank of channel j's feature maps [H, W] over the samples of a batch.

    The maps are those that 2D convolutions without groups read, behind norm and activation; if several read a channel,
    the mean over them is taken. Where none reads it (before global pooling), the maps are those that it has behind the
    norms or, without any, behind the layers that produce it. Batch norm normalises by the batch.

    Source: Lin et al., HRank: Filter Pruning using High-Rank Feature Map (CVPR 2020), equation 4.
    """

    steps = 0
    batches_per_draw = 1
    deterministic = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UnsupportedModelError: If a group has no feature maps [N, C, H, W].
        """
        seen = {group.id: _seen(problem.network, group) for group in problem.groups}
        ranks: dict[_Place, Tensor] = {}
        with ExitStack() as hooks, torch.no_grad():
            for place in {place for places in seen.values() for place in places}:
                module = problem.network.get_submodule(place.layer)
                hooks.enter_context(module.register_forward_hook(partial(_record, ranks, place)))
            problem.loss_at(problem.initial, 0)
        return {group: _mean(ranks, places, group) for group, places in seen.items()}


@dataclass(frozen=True)
class _Place:
    """The inputs or the outputs of a layer."""

    layer: str
    inputs: bool


def _seen(network: nn.Module, group: ChannelGroup) -> dict[_Place, Tensor]:
    """Return where the maps of a group are seen, with the positions [width, entries] of its channels there."""
    consumers = [slot for slot in group.slots_of("consumer") if _reads_maps(network.get_submodule(slot.layer))]
    if consumers:
        return {_Place(slot.layer, inputs=True): slot.index for slot in consumers}
    others = group.slots_of("norm") or group.slots_of("producer", "depthwise")
    return {_Place(slot.layer, inputs=False): slot.index for slot in others}


def _reads_maps(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1


def _record(
    ranks: dict[_Place, Tensor], place: _Place, module: nn.Module, inputs: tuple[Any, ...], output: Any
) -> None:
    """Store the mean rank over the samples, [C] on the CPU, of the maps at a place."""
    maps = inputs[0] if place.inputs else output
    if isinstance(maps, Tensor) and maps.ndim == 4:
        found: Tensor = torch.linalg.matrix_rank(maps.float())
        ranks[place] = found.double().mean(0).cpu()


def _mean(ranks: Mapping[_Place, Tensor], places: Mapping[_Place, Tensor], group: str) -> Tensor:
    """Return the mean rank [width] of the channels of a group."""
    found = [ranks[place][index].mean(1) for place, index in places.items() if place in ranks]
    if not found:
        raise UnsupportedModelError(f"expected feature maps [N, C, H, W] of every group, got none of {group}")
    return torch.stack(found).mean(0)
