"""GraSP: keep the channels whose removal would reduce the gradient flow."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.averaging import Signed
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import UNITS, register


@register("grasp", "preserves the gradient norm, by one Hessian-gradient product (Wang et al., ICLR 2020)")
@dataclass(frozen=True)
class GraSP(Signed):
    """Contribution to the gradient norm: s_j = S_j - min S with S_j = sum over what gate j multiplies of w * (H g).

    g and H are gradient and Hessian of the loss at output / temperature, so S is the derivative of |g|^2 / 2 with
    respect to the gate. The minimum is taken over all channels. The paper scores a removal by -w * (H g) and removes
    the highest scores: large w * (H g) stays. The minimum is subtracted because scores must not be negative; this
    preserves the ranking, not the ratios of scores.

    Attributes:
        temperature: Divisor of the network's output, above 0.
        by_magnitude: Whether to use s_j = |S_j| instead, as Frankle et al., Pruning Neural Networks at Initialization
            (ICLR 2021), advise.

    Raises:
        UsageError: If the temperature is not above 0.

    Source: Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow (ICLR 2020), equation 8
    and algorithm 1, with one gate per channel.
    """

    temperature: float = 200.0
    by_magnitude: bool = False
    steps = 0
    batches_per_draw = 1
    deterministic = False
    second_order = True
    units = UNITS

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UsageError(f"expected temperature > 0, got {self.temperature}")

    @property
    def ratios(self) -> bool:
        """Whether ratios of scores mean something: not above an arbitrary minimum."""
        return self.by_magnitude

    def signed(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return S [width] of every group."""
        cooled = replace(problem, loss=lambda output, target: problem.loss(output / self.temperature, target))
        # Frozen weights are not updated, so their gradient does not count.
        gradient, hessian_product = cooled.curvature(cooled.initial, 0)
        return cooled.gate_gradient(hessian_product(cooled.trainable * gradient))

    def without_sign(self, signed: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return S - min S, or |S| by magnitude, of every group."""
        if self.by_magnitude:
            return super().without_sign(signed)
        lowest = torch.cat(list(signed.values())).min()
        return {group: values - lowest for group, values in signed.items()}
