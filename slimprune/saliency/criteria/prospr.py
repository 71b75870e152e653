"""ProsPr: saliency by meta-gradients through the first training steps."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from slimprune.saliency.adjoint import InnerTraining, final_weights, meta_gradient
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("prospr", "meta-gradients through the first training steps (Alizadeh et al., ICLR 2022)")
@register("prospr-first-order", "the same without second derivatives (their equation 17)", first_order=True)
@dataclass(frozen=True)
class ProsPr(InnerTraining):
    """s_j = | d L_M(w_M) / d c_j |, the gates c multiplying the initial weights once.

    One draw takes `steps` + 1 batches: the inner training steps, then the batch of the final loss. The signed sum over
    everything that a gate multiplies comes first, the absolute value last.

    Attributes:
        first_order: use grad L_M(w_M) in place of the meta-gradient, which skips all second derivatives.
        on_host: keep the weights of the steps in host memory.

    Source: Alizadeh et al., Prospect Pruning: Finding Trainable Weights at Initialization Using Meta-Gradients
    (ICLR 2022), equations 3 and 17, with one gate per channel.
    """

    first_order: bool = False
    on_host: bool = False
    deterministic = False

    @property
    def batches_per_draw(self) -> int:
        """The inner steps and the final loss."""
        return self.steps + 1

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Saliency [width] of every group."""
        if self.first_order:
            adjoint = problem.gradient(final_weights(problem, self), self.steps)
        else:
            adjoint = meta_gradient(problem, self, on_host=self.on_host)
        return {group: gates.abs() for group, gates in problem.gate_gradient(adjoint).items()}
