"""3SP: structured SNIP, the connection sensitivity of whole channels."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from slimprune.saliency.averaging import Signed
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import UNITS, register


@register("3sp", "structured SNIP, one gradient at the initial weights (van Amersfoort et al., 2020); the same as snip")
@register("snip", "connection sensitivity of whole channels (Lee et al., ICLR 2019); the same as 3sp")
@dataclass(frozen=True)
class ThreeSP(Signed):
    """Connection sensitivity: s_j = | sum over what gate j multiplies of w * dL/dw | at the initial weights.

    This is ProsPr without inner steps. For channels SNIP and 3SP coincide, hence the two names. What 3SP adds, the
    division by the MACs that a removal saves, belongs to the allocation: the rule `compute-aware`.

    Source: SNIP: Lee et al., Single-shot Network Pruning Based on Connection Sensitivity (ICLR 2019); 3SP:
    van Amersfoort et al., Single Shot Structured Pruning Before Training (2020).
    """

    steps = 0
    batches_per_draw = 1
    deterministic = False
    units = UNITS

    def signed(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the derivative [width] for the gates of every group."""
        return problem.gate_gradient(problem.gradient(problem.initial, 0))
