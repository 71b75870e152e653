"""Optimal brain damage: a second-order estimate of how much the loss of a trained network grows without a channel."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.averaging import Signed
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("obd", "half the diagonal of the Hessian of gates, for trained networks (LeCun et al., NeurIPS 1989)")
@dataclass(frozen=True)
class OptimalBrainDamage(Signed):
    """Estimated growth of the loss: s_j = max(0, H_jj / 2), with the Hessian H of the loss with respect to the gates.

    At a minimum of the loss the gradient is 0, and a gate that closes changes the loss by H_jj / 2, up to third order,
    if the others stay open. With one gate for each weight this is the saliency h_kk * u_k^2 / 2 of the paper; with one
    for each channel H_jj also holds the products between weights of the same channel.

    The diagonal is estimated with random signs v: the mean of v * (H v) over several v, each at the cost of one Hessian
    product (Hutchinson's estimator for diagonals).

    Attributes:
        probes: Number of sign vectors in each draw.

    Raises:
        UsageError: If `probes` is below 1.

    Source: LeCun et al., Optimal Brain Damage (NeurIPS 1989, printed 1990), equation 5; the estimator: Bekas et al., An
    Estimator for the Diagonal of a Matrix (2007).
    """

    probes: int = 2
    steps = 0
    batches_per_draw = 1
    deterministic = False
    second_order = True
    average = "absolute"

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise UsageError(f"expected probes >= 1, got {self.probes}")

    def signed(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the estimated growth [width] of the loss for the gates of every group."""
        generator = torch.Generator().manual_seed(problem.seed % 2**63)
        totals = {group.id: problem.initial.new_zeros(group.width) for group in problem.groups}
        for _ in range(self.probes):
            signs = {group.id: _signs(group.width, generator).to(problem.initial) for group in problem.groups}
            closed = {group: 1 - values for group, values in signs.items()}
            # Only the gated weights move, each along its own value times the sign of its gate.
            direction = problem.initial - problem.gated(closed)
            products = problem.gate_gradient(problem.hessian_product(problem.initial, 0, direction))
            for group, values in signs.items():
                totals[group] += values * products[group] / (2 * self.probes)
        return totals

    def without_sign(self, signed: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return max(0, value) by group."""
        return {group: values.clamp_min(0) for group, values in signed.items()}


def _signs(count: int, generator: torch.Generator) -> Tensor:
    """Return random signs, -1 or 1."""
    return 2.0 * torch.randint(2, (count,), generator=generator) - 1
