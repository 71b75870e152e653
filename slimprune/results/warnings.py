"""Sentences that every reader of the figures must see."""

from collections.abc import Sequence
from typing import Literal

from slimprune.budget import LATENCY, Budget, Plan
from slimprune.files import LatencyRow, latency_removed
from slimprune.recipe import ResolvedRecipe
from slimprune.results.measured import Measured, SecondOpinion, differ
from slimprune.results.widths import Saliency
from slimprune.statistics import NOISE, SETTLED

PLACE: tuple[Literal["device", "threads", "version"], ...] = ("device", "threads", "version")
"""What two rows of times have to share to be those of one place."""

NEAR = 0.05
"""Relative error up to which a measured latency counts as meeting the request."""


def scoring_warnings(saliency: Saliency | None) -> list[str]:
    """Return a sentence if the ranking of the channels is mostly noise."""
    if saliency is None or saliency.stability is None or saliency.stability >= NOISE:
        return []
    if (agreement := saliency.layer_agreement) is not None and agreement >= SETTLED:
        return [
            f"which channels of a layer stay is mostly chance (stability {saliency.stability:.2f}), how wide layers "
            f"become is not: halves of the draws agree to {agreement:.2f}"
        ]
    return [
        f"the ranking of channels is mostly noise (stability {saliency.stability:.2f}): "
        "more --draws or a larger --score-batch lower the noise"
    ]


def weight_warnings(recipe: ResolvedRecipe, without_weights: Sequence[str], frozen: Sequence[str]) -> list[str]:
    """Return sentences about given weights.

    Args:
        recipe: Recipe of the run.
        without_weights: Parameters that were not taken from the given weights.
        frozen: Parameters that are not trained.
    """
    found = []
    if without_weights:
        given = recipe.weights or "the pretrained weights"
        found.append(f"not from {given}, so drawn at random: {', '.join(without_weights)}")
    elif recipe.reset_head:
        found.append("reset_head has no effect: the head of the given weights fits the classes of the data")
    if frozen:
        found.append(f"frozen, so slimmed but not trained: {', '.join(frozen)}")
    return found


def latency_warnings(plan: Plan, trained: LatencyRow | None) -> list[str]:
    """Return a sentence if no plan that was timed meets the latency asked for, or if the trained network does not."""
    timing, budget = plan.timing, plan.budget
    if timing is None or timing.trial is None:
        return []
    asked, reached = budget.ratios[LATENCY], timing.trial.removed
    if misses_latency(budget, reached):
        return [
            f"{asked:.1%} of latency was asked to go, {reached:.1%} went by measurement: the closest of "
            f"{len(timing.trials)} plans that were timed as a whole"
        ]
    if trained is None or not misses_latency(budget, again := latency_removed(trained["speedup"])):
        return []
    same = all(trained[part] == timing.trial.row[part] for part in PLACE)
    why = "times vary on this machine" if same else "the run was resumed in another place"
    return [
        f"{asked:.1%} of latency was asked to go, {reached:.1%} went when the plan was timed and {again:.1%} when the "
        f"trained network was: {why}; `slimprune bench` measures more pairs"
    ]


def misses_latency(budget: Budget, removed: float) -> bool:
    """Return whether a share of the latency is too small, or needlessly great where nothing else is limited."""
    missed = (1 - removed) / (1 - budget.ratios[LATENCY]) - 1
    return missed > NEAR or (missed < -NEAR and len(budget.ratios) == 1)


def macs_warnings(plan: Plan, slim: Measured) -> list[str]:
    """Return a sentence if the slim network takes other MACs than its plan predicts."""
    predicted, counted = plan.slim.macs, slim.cost.macs
    if not differ(predicted, counted):
        return []
    return [f"the plan predicts {predicted:,} MACs, the slim network takes {counted:,}"]


def fvcore_warnings(counts: SecondOpinion | None, dense: Measured, slim: Measured) -> list[str]:
    """Return a sentence for every network of which fvcore counts other MACs."""
    if counts is None:
        return []
    networks = (("dense", dense, counts.dense), ("slim", slim, counts.slim))
    return [
        f"the {name} network takes {own.cost.macs:,} MACs, fvcore counts {second:,}"
        for name, own, second in networks
        if second is not None and differ(second, own.cost.macs)
    ]
