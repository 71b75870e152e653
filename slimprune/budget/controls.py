"""Twins of a plan: the same widths with other channels, to tell whether the ranking matters or only the widths."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from slimprune.budget.plan import Plan
from slimprune.errors import UsageError
from slimprune.graph import free_groups
from slimprune.saliency import Scores

ChannelChoice = Callable[[Tensor, int, torch.Generator], Tensor]
"""(scores [width], how many, generator) -> indices of the chosen channels."""


def _shuffled(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(scores), generator=generator)[:count]


def _worst(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.argsort(scores, stable=True)[:count]


CONTROLS: Mapping[str, ChannelChoice] = {"shuffle": _shuffled, "invert": _worst}
"""The third control, `reinit`, keeps the plan and draws the slim network's weights anew; see `surgery.initialise`."""


def control_plan(plan: Plan, kind: str, scores: Scores | None, *, seed: int = 0) -> Plan:
    """Return a plan with the same widths and cost but other channels.

    Args:
        plan: The plan to imitate.
        kind: `shuffle` for random channels, `invert` for those with the lowest scores.
        scores: The scores from which the plan was made; a plan without scores can be shuffled.
        seed: Seed of the random choice.

    Raises:
        UsageError: If the kind is unknown, or `invert` gets no scores.
    """
    if kind not in CONTROLS:
        raise UsageError(f"expected a twin ({', '.join(CONTROLS)}), got {kind!r}")
    if scores is None and kind == "invert":
        raise UsageError("expected scores to find the worst channels by, got a plan without scores")
    generator = torch.Generator().manual_seed(seed)
    kept = dict(plan.kept)
    for group in free_groups(plan.groups):
        values = torch.zeros(group.width) if scores is None else scores.by_group[group.id]
        kept[group.id] = CONTROLS[kind](values, len(kept[group.id]), generator).sort().values
    return replace(plan, kept=kept)
