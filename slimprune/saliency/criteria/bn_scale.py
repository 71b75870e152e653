"""BN scale: the magnitude of the factor that a trained norm applies to a channel (network slimming)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.errors import UnsupportedModelError
from slimprune.graph import ChannelGroup
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("bn-scale", "size of the norms' factors, for trained networks (network slimming: Liu et al., ICCV 2017)")
@dataclass(frozen=True)
class BatchNormScale:
    """Magnitude of the norms' factors: s_j = mean of |gamma_j| over the norms of the channel, without their biases.

    The score says nothing before training, when every factor is 1. The paper trains with an L1 penalty on the factors.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming (ICCV 2017), section 3.
    """

    steps = 0
    batches_per_draw = 0
    deterministic = True

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UnsupportedModelError: If no norm scales a group, or if all factors are equal.
        """
        weights = dict(problem.network.named_parameters())
        scores = {group.id: _mean_scale(weights, group) for group in problem.groups}
        every = torch.cat(list(scores.values()))
        if bool((every == every[0]).all()):
            raise UnsupportedModelError(
                f"expected norms whose factors differ, got {float(every[0]):g} for every channel: train first"
            )
        return scores


def _mean_scale(weights: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    scales = [
        weights[slot.name].detach().abs()[slot.index.to(weights[slot.name].device)]
        for slot in group.slots_of("norm")
        if slot.name in weights and slot.name.rpartition(".")[2] == "weight"
    ]
    if not scales:
        raise UnsupportedModelError(f"expected a norm with affine weights on every group, got none on {group.id}")
    return torch.cat(scales, 1).mean(1)
