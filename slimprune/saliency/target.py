"""Target of criteria that prune iteratively."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.errors import UsageError

Narrow = Callable[[Mapping[str, Tensor], float], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Target:
    """What stays at the end, and which channels stay in the rounds before.

    Attributes:
        density: Share of the budgeted quantity that stays at the end, in (0, 1).
        narrow: (scores float64 [width] by group on the CPU, share that stays) -> bool [width] by group, True = stays.

    Raises:
        UsageError: If the density is outside (0, 1).
    """

    density: float
    narrow: Narrow

    def __post_init__(self) -> None:
        if not 0 < self.density < 1:
            raise UsageError(f"expected a target density in (0, 1), got {self.density}")


def channel_target(density: float) -> Target:
    """Return a target that counts channels: the best round(share * all channels) stay, at least one.

    There is one threshold over all groups and no floor: a group may lose all its channels. Among equal scores the
    earlier group wins, then the lower channel.

    Raises:
        UsageError: If the density is outside (0, 1).
    """
    return Target(density, _best_channels)


def _best_channels(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    widths = [len(values) for values in scores.values()]
    values = torch.cat(list(scores.values()))
    stays = torch.zeros(len(values), dtype=torch.bool)
    count = max(1, round(share * len(values)))
    stays[torch.argsort(values, descending=True, stable=True)[:count].cpu()] = True
    return dict(zip(scores, stays.split(widths), strict=True))
