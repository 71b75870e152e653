"""Magnitude: the L2 norm of the weights that produce a channel."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.graph import ChannelGroup
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("magnitude", "L2 norm of the weights that produce the channel (Li et al., ICLR 2017)")
@dataclass(frozen=True)
class Magnitude:
    """Size of the weights: s_j = root mean square of the weights of all producers of channel j.

    The mean is used, not the sum, so that layers with a large fan-in are not favoured in a ranking over all layers.

    Source: Li et al., Pruning Filters for Efficient ConvNets (ICLR 2017), with L2 in place of L1.
    """

    steps = 0
    batches_per_draw = 0
    deterministic = True

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        weights = dict(problem.network.named_parameters())
        return {group.id: _root_mean_square(weights, group) for group in problem.groups}


def _root_mean_square(weights: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    rows = []
    for slot in group.slots_of("producer", "depthwise"):
        weight = weights[slot.name].detach()
        if weight.ndim > 1:
            rows.append(weight.movedim(slot.dim, 0)[slot.index.to(weight.device)].flatten(1))
    return torch.cat(rows, 1).square().mean(1).sqrt()
