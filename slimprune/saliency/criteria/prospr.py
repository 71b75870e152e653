"""ProsPr: saliency by meta-gradients through the first training steps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.adjoint import InnerTraining, final_weights, meta_gradient
from slimprune.saliency.averaging import Signed
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import UNITS, register


@register("prospr", "meta-gradients through the first training steps (Alizadeh et al., ICLR 2022)")
@register("prospr-first-order", "the same without second derivatives (their equation 17)", first_order=True)
@dataclass(frozen=True)
class ProsPr(InnerTraining, Signed):
    """Meta-gradient of the loss: s_j = | d L_M(w_M) / d c_j |, with gates c that multiply the initial weights once.

    One draw takes `steps` + 1 batches: those of the inner training steps, then the batch of the final loss. Everything
    that a gate multiplies is summed with its sign; the absolute value is taken last.

    The defaults, one step at a rate of 0.01, were chosen by measurement (benchmarks/stability.py): with three at 0.1,
    one draw in float32 ranks the channels of VGG-11 almost otherwise than in float64. `prospr-released` has those of
    the paper's code. Rows named "paper's placement" in our comparisons share the place of the gates with that code, not
    its settings.

    Attributes:
        first_order: Whether to use grad L_M(w_M) in place of the meta-gradient, which skips all second derivatives.
        on_host: Whether to keep the weights of the steps in host memory.
        steps_stored: Most vectors of the size of the weights to store at once, in [1, steps); steps between stored ones
            are computed again. By default all steps are stored. See `meta_gradient`.
        one_batch: Whether to take one batch for all steps and the final loss, as the released code does by default.

    Source: Alizadeh et al., Prospect Pruning: Finding Trainable Weights at Initialization Using Meta-Gradients
    (ICLR 2022), equations 3 and 17, with one gate per channel.
    """

    steps: int = 1
    lr: float = 0.01
    first_order: bool = False
    on_host: bool = False
    steps_stored: int | None = None
    one_batch: bool = False
    deterministic = False
    units = UNITS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first_order and self.on_host:
            raise UsageError("expected no on_host for first order, which keeps no weights of the steps, got True")
        if self.steps_stored is None:
            return
        if self.first_order:
            raise UsageError(f"expected no steps_stored for first order, which stores none, got {self.steps_stored}")
        if not 1 <= self.steps_stored < self.steps:
            rule = f"steps_stored >= 1 and below the number of steps ({self.steps}), which are stored without it"
            raise UsageError(f"expected {rule}, got {self.steps_stored}")

    @property
    def batches_per_draw(self) -> int:
        """One batch for each inner step and one for the final loss; a single one if they share it."""
        return 1 if self.one_batch else self.steps + 1

    @property
    def second_order(self) -> bool:
        """Whether it takes second derivatives of the loss."""
        return not self.first_order

    def signed(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the derivative [width] for the gates of every group."""
        if self.one_batch:
            problem = replace(problem, batches=[problem.batches[0]] * (self.steps + 1))
        if self.first_order:
            adjoint = problem.gradient(final_weights(problem, self), self.steps)
        else:
            adjoint = meta_gradient(problem, self, on_host=self.on_host, steps_stored=self.steps_stored)
        return problem.gate_gradient(adjoint)
