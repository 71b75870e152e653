"""3SP: structured SNIP, the connection sensitivity of whole channels."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("3sp", "structured SNIP, one gradient at the initial weights (van Amersfoort et al., 2020)")
@dataclass(frozen=True)
class ThreeSP:
    """s_j = | sum over what gate j multiplies of w * dL/dw | at the initial weights: ProsPr without inner steps.

    Source: van Amersfoort et al., Single Shot Structured Pruning Before Training (2020), without their division by the
    MACs that a removal saves; after SNIP (Lee et al., ICLR 2019).
    """

    steps = 0
    batches_per_draw = 1

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Saliency [width] of every group."""
        gates = problem.gate_gradient(problem.gradient(problem.initial, 0))
        return {group: gradient.abs() for group, gradient in gates.items()}
