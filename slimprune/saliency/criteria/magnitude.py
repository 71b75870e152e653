"""Magnitude: the L2 norm of the weights that produce a channel."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import UNITS, register


@register("magnitude", "L2 norm of the weights that produce the channel (Li et al., ICLR 2017)")
@dataclass(frozen=True)
class Magnitude:
    """Size of the weights: s_j = root mean square of the weights of all producers of channel j.

    Of single weights it is |w|. The mean is used, not the sum, so that layers with a large fan-in are not favoured in a
    ranking over all layers.

    Source: Li et al., Pruning Filters for Efficient ConvNets (ICLR 2017), with L2 in place of L1.
    """

    steps = 0
    batches_per_draw = 0
    deterministic = True
    units = UNITS

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        return problem.magnitudes()
