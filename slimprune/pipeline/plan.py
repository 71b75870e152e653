"""The choice of a plan: by a rule, by a search over rules, by weight sharing, or by measured latencies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from slimprune.budget import Plan
from slimprune.files import adapter, read_value, write_atomically
from slimprune.pipeline.adjusted import adjusted_widths
from slimprune.pipeline.latency import TimedAnalysis, corrected_at_uniform, plan_for_latency, with_rounding
from slimprune.pipeline.learned import learn_widths
from slimprune.pipeline.prospect import prospect_widths
from slimprune.pipeline.search import search_rule, with_rule
from slimprune.pipeline.stages import (
    ADJUSTED,
    FOUND_RULES,
    LEARNED,
    PROSPECT,
    SEARCH,
    Analysis,
    Start,
    allocate_for,
    needs_scores,
    score_channels,
)
from slimprune.ranks.group import from_first, joined
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Saliency, Search, Sharing
from slimprune.saliency import Scores
from slimprune.types import Listener

Scorer = Callable[[ResolvedRecipe, Analysis, nn.Module, Listener], tuple[Scores, Saliency]]


PLAN_FILE = "plan.json"


@dataclass(frozen=True, eq=False)
class PlannedPruning:
    """A plan and how it was found.

    Attributes:
        plan: Plan of the channels to keep.
        saliency: How the channels were scored; None for a rule without scores.
        search: How the rule was found; None if it was not searched for.
        sharing: How the widths were found by weight sharing; None if they were not.
    """

    plan: Plan
    saliency: Saliency | None = None
    search: Search | None = None
    sharing: Sharing | None = None

    @property
    def epochs(self) -> float:
        """Cost of finding the rule in epochs of training the slim network."""
        searched = 0 if self.search is None else self.search.epochs
        return searched + (0 if self.sharing is None else round(self.sharing.epochs, 2))

    def to_json(self) -> str:
        """Return the plan and how it was found as JSON text."""
        return adapter(PlannedPruning).dump_json(self).decode()


def stored_pruning(folder: Path) -> PlannedPruning | None:
    """Return the plan that an interrupted run left in its folder; None if it had not come that far.

    Raises:
        VerificationError: If the file is damaged.
    """
    file = folder / PLAN_FILE
    return read_value(PlannedPruning, file.read_bytes(), f"plan {file}") if file.exists() else None


def choose_plan(
    recipe: ResolvedRecipe,
    analysis: Analysis,
    start: Start,
    listener: Listener,
    *,
    folder: Path | None = None,
    scorer: Scorer = score_channels,
) -> PlannedPruning:
    """Return the plan by the recipe's rule, or by the rule that a search or weight sharing finds.

    Args:
        recipe: Recipe with criterion, budget and rule.
        analysis: Analysis of the dense network.
        start: Networks to score and to inherit weights from.
        listener: Called during scoring, search and timing.
        folder: Folder of the plan and the trials, read if an interrupted run left them, and written otherwise.
        scorer: Function that computes the scores.
    """
    found = stored_pruning(folder) if folder is not None else None
    if found is not None:
        return found
    plan, scores, saliency, search, sharing = None, None, None, None, None
    if recipe.rule in FOUND_RULES and isinstance(analysis, TimedAnalysis):
        analysis = corrected_at_uniform(recipe, analysis, listener)
    if recipe.rule == PROSPECT:
        rule, saliency = prospect_widths(with_rounding(recipe, analysis), analysis, start.scored, listener)
        recipe = with_rule(recipe, rule)
    if needs_scores(recipe) and not _widths_alone(recipe, saliency):
        scores, saliency = scorer(recipe, analysis, start.scored, listener)
    if recipe.rule == LEARNED:
        sharing = learn_widths(
            with_rounding(recipe, analysis), analysis, start.inherited, scores, listener, store=folder
        )
        recipe = with_rule(recipe, sharing.rule)
    if recipe.rule == ADJUSTED:
        rounded = with_rounding(recipe, analysis)
        search = adjusted_widths(rounded, analysis, start.inherited, scores, listener, store=folder)
        recipe = with_rule(recipe, search.rule)
    if recipe.rule == SEARCH:
        trials = folder / "search.json" if folder is not None else None
        plan, search = search_rule(recipe, analysis, start.inherited, scores, listener, store=trials)
        recipe = with_rule(recipe, search.rule)
    if isinstance(analysis, TimedAnalysis):
        plan = plan_for_latency(recipe, analysis, scores, listener)
    elif plan is None:
        plan = allocate_for(recipe, analysis, scores)
    planned = _as_first(PlannedPruning(plan, saliency, search, sharing))
    if folder is not None:
        folder.mkdir(exist_ok=True)
        write_atomically(folder / PLAN_FILE, planned.to_json())
    return planned


def _as_first(planned: PlannedPruning) -> PlannedPruning:
    """Return the plan of the first rank, lest rounding on another device leads to another one."""
    if not joined().several:
        return planned
    text = from_first(lambda: planned.to_json().encode())
    return planned if joined().first else read_value(PlannedPruning, text, "the plan of the first process")


def _widths_alone(recipe: ResolvedRecipe, saliency: Saliency | None) -> bool:
    """Return whether scores were for the widths alone: the channels of an untrained network are alike."""
    return saliency is not None and recipe.when == "before-training" and recipe.twin != "invert"
