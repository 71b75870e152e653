"""ProsPr with the defaults of the code that its authors released."""

from dataclasses import dataclass

from slimprune.saliency.criteria.prospr import ProsPr
from slimprune.saliency.registry import register


@register("prospr-released", "prospr by the defaults of its released code: 3 steps on one batch, without momentum")
@dataclass(frozen=True)
class ReleasedProsPr(ProsPr):
    """ProsPr by the defaults of its code: 3 steps at a rate of 0.1, no momentum or weight decay, one batch for all.

    The batch of the inner steps is that of the final loss as well. The code gates channels where they are produced
    (gate `producer`), and scores once (one draw) on 128 images.

    Source: the command line of github.com/mil-ad/prospr, as of 2022.
    """

    steps: int = 3
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    one_batch: bool = True
