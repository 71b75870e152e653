"""Where a criterion that narrows the network step by step is heading."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.errors import UsageError

Narrow = Callable[[Mapping[str, Tensor], float], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Target:
    """What stays in the end, and who stays on the way there.

    Attributes:
        density: share of the budgeted quantity that stays at the end, in (0, 1).
        narrow: (scores float64 [width] by group on the CPU, share that stays) -> bool [width] by group, True = stays.

    Raises:
        UsageError: a density outside (0, 1).
    """

    density: float
    narrow: Narrow

    def __post_init__(self) -> None:
        if not 0 < self.density < 1:
            raise UsageError(f"expected a target density in (0, 1), got {self.density}")


def channel_target(density: float) -> Target:
    """A target that counts channels: round(share * all channels) with the best scores stay, one at least.

    One threshold over all groups, without a floor: a group may lose all its channels. Equal scores go to the earlier
    group, then to the lower channel.

    Raises:
        UsageError: a density outside (0, 1).
    """
    return Target(density, _best_channels)


def _best_channels(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    widths = [len(values) for values in scores.values()]
    values = torch.cat(list(scores.values()))
    stays = torch.zeros(len(values), dtype=torch.bool)
    count = max(1, round(share * len(values)))
    stays[torch.argsort(values, descending=True, stable=True)[:count].cpu()] = True
    return dict(zip(scores, stays.split(widths), strict=True))
