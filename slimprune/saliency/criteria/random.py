"""Random: the baseline that every criterion has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import UNITS, register


@register("random", "independent uniform scores, from the seed")
@dataclass(frozen=True)
class Random:
    """Independent scores s_j, uniform in (0, 1), from the seed of the draw."""

    steps = 0
    batches_per_draw = 0
    deterministic = False
    units = UNITS
    ratios = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        generator = torch.Generator().manual_seed(problem.seed)
        return {group.id: torch.rand(group.width, generator=generator) for group in problem.groups}
