"""Taylor: a first-order estimate of how much the loss of a trained network changes without a channel."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from slimprune.saliency.averaging import Signed
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("taylor", "squared sum of gradient * weight, for trained networks (Molchanov et al., CVPR 2019)")
@dataclass(frozen=True)
class Taylor(Signed):
    """Estimated change of the loss: s_j = (sum over what gate j multiplies of w * dL/dw)^2.

    This is the first-order estimate of (L - L without j)^2. It is meant for trained networks, where draws are averaged
    as squares: a channel whose influence changes sign from batch to batch counts. Within one draw the ranking is that
    of 3sp.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning (CVPR 2019), equation 8.
    """

    steps = 0
    batches_per_draw = 1
    deterministic = False
    average = "absolute"

    def signed(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the derivative [width] for the gates of every group."""
        return problem.gate_gradient(problem.gradient(problem.initial, 0))

    def without_sign(self, signed: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the squares by group."""
        return {group: values.square() for group, values in signed.items()}
