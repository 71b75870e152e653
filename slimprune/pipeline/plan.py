"""A plan is chosen: by a rule, by a search over rules, or by measured latencies."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from slimprune.budget import Plan
from slimprune.files import write_atomically
from slimprune.pipeline.latency import TimedAnalysis, plan_for_latency
from slimprune.pipeline.search import search_rule, with_rule
from slimprune.pipeline.stages import SEARCH, Analysis, Start, allocate_for, needs_scores, score_channels
from slimprune.progress import Listener
from slimprune.recipe import Recipe
from slimprune.results import Saliency, Search, SearchTrial
from slimprune.saliency import Scores

Scorer = Callable[[Recipe, Analysis, nn.Module, Listener], tuple[Scores, Saliency]]


PLAN_FILE = "plan.json"


@dataclass(frozen=True, eq=False)
class PlannedPruning:
    """A plan and how it was found; round-trips JSON.

    Attributes:
        plan: which channels stay.
        saliency: how they were scored, None for a rule without scores.
        search: how the rule was found, where it was searched for.
    """

    plan: Plan
    saliency: Saliency | None = None
    search: Search | None = None

    def to_json(self) -> str:
        """The plan and how it was found, as JSON text."""
        found = {name: asdict(part) if part else None for name, part in vars(self).items() if name != "plan"}
        return json.dumps({**found, "plan": json.loads(self.plan.to_json())})

    @classmethod
    def from_json(cls, text: str) -> "PlannedPruning":
        """Inverse of `to_json`."""
        plain = json.loads(text)
        saliency, search = plain["saliency"], plain["search"]
        if search:
            search = Search(
                search["rule"], tuple(SearchTrial(**trial) for trial in search["trials"]), search["seconds"]
            )
        return cls(Plan.from_json(json.dumps(plain["plan"])), Saliency(**saliency) if saliency else None, search)


def stored_pruning(folder: Path) -> PlannedPruning | None:
    """What an interrupted run left in its folder, if it came that far."""
    file = folder / PLAN_FILE
    return PlannedPruning.from_json(file.read_text()) if file.exists() else None


def choose_plan(
    recipe: Recipe,
    analysis: Analysis,
    start: Start,
    listener: Listener,
    *,
    folder: Path | None = None,
    scorer: Scorer = score_channels,
) -> PlannedPruning:
    """The plan by the recipe's rule, or by the one that a search finds.

    Args:
        recipe: criterion, budget and rule.
        analysis: the dense network, understood.
        start: the networks to score and to inherit weights from.
        listener: called while it scores and searches.
        folder: where an interrupted run left its plan or its trials, and where this one leaves them.
        scorer: makes the scores.
    """
    found = stored_pruning(folder) if folder is not None else None
    if found is not None:
        return found
    scores, saliency = scorer(recipe, analysis, start.scored, listener) if needs_scores(recipe) else (None, None)
    search = None
    if recipe.rule == SEARCH:
        trials = folder / "search.json" if folder is not None else None
        plan, search = search_rule(recipe, analysis, start.inherited, scores, listener, store=trials)
        recipe = with_rule(recipe, search.rule)
    if isinstance(analysis, TimedAnalysis):
        plan = plan_for_latency(recipe, analysis, scores, listener)
    elif search is None:
        plan = allocate_for(recipe, analysis, scores)
    planned = PlannedPruning(plan, saliency, search)
    if folder is not None:
        write_atomically(folder / PLAN_FILE, planned.to_json())
    return planned
