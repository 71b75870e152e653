"""Widths by scores that are taken at the budget: a few steps from uniform widths towards more saliency per cost."""

from dataclasses import replace

import numpy as np
from torch import nn

from slimprune.budget import Proportions, WidthSpace
from slimprune.graph import find_groups, first_channels, keep_channels
from slimprune.graph.groups import Integers
from slimprune.pipeline.learned import space_of
from slimprune.pipeline.stages import Analysis, score_channels
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Saliency
from slimprune.types import Listener

STEPS = 3
RATE, LONGEST = 0.25, 0.2
"""Exponent on a group's saliency per cost in a step, and the greatest change of a proportion in one."""


def prospect_widths(
    recipe: ResolvedRecipe, analysis: Analysis, network: nn.Module, listener: Listener
) -> tuple[str, Saliency]:
    """Return the rule whose widths have about equal saliency per cost in all groups, and how these were scored.

    Where a network of the budget is best, one more percent of the channels of any group has the same use per cost. The
    use is estimated by the sum of a group's scores in the network narrowed to the present widths, and the widths take a
    few damped steps towards groups that have more of it per cost, at equal budget.

    Args:
        recipe: Recipe with criterion, budget, floor and rounding.
        analysis: Analysis of the dense network.
        network: Network that is scored; it is not modified.
        listener: Called while channels are scored.
    """
    space = space_of(recipe, analysis)
    proportions, seconds, peak = np.zeros(len(space.free)), 0.0, 0
    for step in range(STEPS):
        widths = space.widths(proportions)
        narrow = keep_channels(network, space.groups, first_channels(space.groups, widths))
        at_budget = replace(analysis, groups=find_groups(narrow, analysis.work.example, protect=recipe.protect))
        once = recipe.model_copy(update={"seed": recipe.seed * STEPS + step, "rule": "uniform"})
        scores, saliency = score_channels(once, at_budget, narrow, listener)
        use = np.array([float(scores.by_group[space.groups[number].id].sum()) for number in space.free])
        proportions = proportions + _step(use / _prices(space, widths))
        seconds, peak = seconds + saliency.seconds, max(peak, saliency.peak_bytes)
    # The agreement of the last step's draws says nothing about the sum of the steps.
    of_all = replace(saliency, stability=None, layer_agreement=None, seconds=seconds, peak_bytes=peak)
    return space.rule(proportions), of_all


def _step(use_per_cost: Proportions) -> Proportions:
    """Return the change of the proportions: damped, of mean zero and at most `LONGEST`."""
    logs = np.log(np.maximum(use_per_cost, use_per_cost.max() * 1e-6))
    change: Proportions = np.clip(RATE * (logs - np.median(logs)), -LONGEST, LONGEST)
    return change


def _prices(space: WidthSpace, widths: Integers) -> Proportions:
    """Return what a percent of each free group's channels costs at these widths, as a share of the budget, [F].

    With several limits, the one that counts is the one of which most is used.
    """
    tightest = space.tightest(widths)
    cost, found = space.costs.cost(widths).of(tightest), []
    for number in space.free:
        fewer = widths.copy()
        fewer[number] -= 1
        found.append(widths[number] * max(1, cost - space.costs.cost(fewer).of(tightest)))
    return np.array(found, np.float64)
