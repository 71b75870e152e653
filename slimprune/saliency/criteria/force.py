"""FORCE: the connection sensitivity that a channel has in the network that is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from slimprune.saliency.narrowing import Narrowing, connection_sensitivity, target_of
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register


@register("force", "SNIP in rounds, after each of which removed channels may come back (de Jorge et al., ICLR 2021)")
@dataclass(frozen=True)
class Force(Narrowing):
    """s_j = | sum over what gate j multiplies of w * dL/dw |, the derivative taken at the gated weights c * w.

    The weights are always the initial ones, so a removed channel (gate 0) has a score as well and comes back where it
    beats one that stayed. Every round has a batch of its own; one round is SNIP.

    Attributes:
        rounds: how often the channels are scored.

    Source: de Jorge et al., Progressive Skeletonization: Trimming More Fat from a Network at Initialization
    (ICLR 2021), FORCE, with one gate per channel and the sum before the absolute value.
    """

    rounds: int = 60
    steps = 0
    deterministic = False

    @property
    def batches_per_draw(self) -> int:
        """One a round."""
        return self.rounds

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Saliency [width] of every group; `UsageError` where the problem has no target."""
        target = target_of(problem, "force")
        return self.narrowed(problem, target, partial(connection_sensitivity, problem), may_return=True)
