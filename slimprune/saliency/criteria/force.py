"""FORCE: the connection sensitivity of a channel in the network that is left."""

from dataclasses import dataclass

from slimprune.saliency.criteria.iter_snip import IterSnip
from slimprune.saliency.registry import register


@register("force", "SNIP in rounds, after each of which removed channels may come back (de Jorge et al., ICLR 2021)")
@dataclass(frozen=True)
class Force(IterSnip):
    """Sensitivity in the remaining network: s_j = | sum over what gate j multiplies of w * dL/dw | at c * w.

    The derivative is taken at the gated weights c * w. The weights w are always the initial ones, so a removed channel
    (gate 0) has a score as well and comes back if it beats one that stayed. This requires gates where channels are
    read: a channel that is silenced where it is produced or normalised feeds zeros to its ReLUs and gets no gradient
    back. Every round has its own batch; one round is SNIP.

    Attributes:
        rounds: How often the channels are scored.

    Source: de Jorge et al., Progressive Skeletonization: Trimming More Fat from a Network at Initialization
    (ICLR 2021), FORCE, with one gate per channel and the sum before the absolute value.
    """

    called = "force"
    may_return = True
    gates = ("consumer",)
