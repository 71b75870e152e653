"""Iterative SNIP: connection sensitivity, with a few channels fewer in every round."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from slimprune.saliency.iterative import IterativePruning, connection_sensitivity, target_of
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import UNITS, register


@register("iter-snip", "SNIP in rounds, in each of which a few channels leave for good (de Jorge et al., ICLR 2021)")
@dataclass(frozen=True)
class IterSnip(IterativePruning):
    """Sensitivity at the gated weights: s_j = | sum over what gate j multiplies of c_j * w * dL/dw | at c * w.

    A removed channel has weights, and therefore a score, of 0 from then on. Every round has its own batch; one round is
    SNIP.

    Attributes:
        rounds: How often the channels are scored.

    Source: de Jorge et al., Progressive Skeletonization: Trimming More Fat from a Network at Initialization
    (ICLR 2021), Iterative SNIP, with one gate per channel and the sum before the absolute value.
    """

    rounds: int = 60
    steps = 0
    deterministic = False
    units = UNITS
    called: ClassVar[str] = "iter-snip"
    may_return: ClassVar[bool] = False

    @property
    def batches_per_draw(self) -> int:
        """One batch per round."""
        return self.rounds

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UsageError: If the problem has no target.
        """
        sensitivity = partial(connection_sensitivity, problem)
        return self.scores_after_rounds(
            problem, target_of(problem, self.called), sensitivity, may_return=self.may_return
        )
