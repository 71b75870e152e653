"""The choice of a plan: by a rule, or by prospect search.

In a prospect search width profiles of equal budget are tried out by short real trainings, in successive halving.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from slimprune.budget import Plan, profile
from slimprune.files import write_whole
from slimprune.latency import TimedAnalysis, settled
from slimprune.recipe import Recipe
from slimprune.report import Saliency, Search, Trial
from slimprune.saliency import Scores
from slimprune.steps import (
    SEARCH,
    Analysis,
    Listener,
    Start,
    allocated,
    initialised,
    needs_scores,
    proven,
    scored,
    training_settings,
)
from slimprune.training import train

CANDIDATES: tuple[str, ...] = (
    *(profile(score, reuse).name for reuse in (0, 0.1, 0.25, 0.5) for score in (0, 0.25)),
    "global",
)
Scorer = Callable[[Recipe, Analysis, nn.Module, Listener], tuple[Scores, Saliency]]
PLAN_FILE = "plan.json"
RUNGS = (1, 2, 4)
"""Epochs of the trials of one rung; half of the candidates go on to the next."""


@dataclass(frozen=True, eq=False)
class Choice:
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
        """The choice as JSON text."""
        found = {name: asdict(part) if part else None for name, part in vars(self).items() if name != "plan"}
        return json.dumps({**found, "plan": json.loads(self.plan.to_json())})

    @classmethod
    def from_json(cls, text: str) -> "Choice":
        """Inverse of `to_json`."""
        plain = json.loads(text)
        saliency, search = plain["saliency"], plain["search"]
        if search:
            search = Search(search["rule"], tuple(Trial(**trial) for trial in search["trials"]), search["seconds"])
        return cls(Plan.from_json(json.dumps(plain["plan"])), Saliency(**saliency) if saliency else None, search)


def stored_choice(folder: Path) -> Choice | None:
    """The choice that an interrupted run left in its folder, if it came that far."""
    file = folder / PLAN_FILE
    return Choice.from_json(file.read_text()) if file.exists() else None


def chosen(
    recipe: Recipe,
    analysis: Analysis,
    start: Start,
    listener: Listener,
    *,
    folder: Path | None = None,
    scorer: Scorer = scored,
) -> Choice:
    """The plan by the recipe's rule, or by the one that a search finds.

    Args:
        recipe: criterion, budget and rule.
        analysis: the dense network, understood.
        start: the networks to score and to inherit weights from.
        listener: called while it scores and searches.
        folder: where an interrupted run left its choice or its trials, and where this one leaves them.
        scorer: makes the scores.
    """
    found = stored_choice(folder) if folder is not None else None
    if found is not None:
        return found
    scores, saliency = scorer(recipe, analysis, start.scored, listener) if needs_scores(recipe) else (None, None)
    search = None
    if recipe.rule == SEARCH:
        trials = folder / "search.json" if folder is not None else None
        plan, search = searched(recipe, analysis, start.inherited, scores, listener, store=trials)
        recipe = _with_rule(recipe, search.rule)
    if isinstance(analysis, TimedAnalysis):
        plan = settled(recipe, analysis, scores, listener)
    elif search is None:
        plan = allocated(recipe, analysis, scores)
    choice = Choice(plan, saliency, search)
    if folder is not None:
        write_whole(folder / PLAN_FILE, choice.to_json())
    return choice


def searched(
    recipe: Recipe,
    analysis: Analysis,
    network: nn.Module,
    scores: Scores | None,
    listener: Listener,
    *,
    store: Path | None = None,
) -> tuple[Plan, Search]:
    """The best of the candidate plans, all of them within the recipe's budget.

    Every trial starts from the weights of `network` and is judged by the mean training loss of its last epoch. That
    epoch is one of few over augmented data, so its loss says what a test loss would, and no test sample and no held-out
    part decides. The better half goes on to trainings twice as long.

    Args:
        recipe: budget, floor, rounding and training; its number of epochs plays no part.
        analysis: the dense network, understood.
        network: the network whose weights the slim one inherits.
        scores: for the candidates that need scores.
        listener: called after every trial.
        store: JSON file of finished trials, to go on from.

    Returns:
        The plan and what was tried.
    """
    began = time.perf_counter()
    plans = _distinct({rule: allocated(_with_rule(recipe, rule), analysis, scores) for rule in CANDIDATES})
    trials = _stored(store)
    alive, total, tried = list(plans), _count(len(plans)), 0
    for epochs in RUNGS:
        losses = {}
        for rule in alive:
            listener(SEARCH, tried, total, rule)
            known = next((trial for trial in trials if _is_of(trial, rule, epochs, plans[rule])), None)
            if known is None:
                known = _trial(recipe, analysis, network, plans[rule], rule, epochs)
                trials.append(known)
                _keep(store, trials)
            losses[rule], tried = known.loss, tried + 1
        alive = sorted(alive, key=lambda rule: losses[rule])[: -(-len(alive) // 2)]
    winner = alive[0]
    listener(SEARCH, total, total, winner)
    return plans[winner], Search(winner, tuple(trials), time.perf_counter() - began)


def _with_rule(recipe: Recipe, rule: str) -> Recipe:
    return recipe.model_copy(update={"rule": rule})


def _distinct(plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """Plans of different widths; of equals the first."""
    seen: dict[tuple[int, ...], str] = {}
    for rule, plan in plans.items():
        seen.setdefault(tuple(plan.widths.values()), rule)
    return {rule: plans[rule] for rule in seen.values()}


def _count(candidates: int) -> int:
    """Trials in all."""
    counts = []
    for _ in RUNGS:
        counts.append(candidates)
        candidates = -(-candidates // 2)
    return sum(counts)


def _is_of(trial: Trial, rule: str, epochs: int, plan: Plan) -> bool:
    """Whether a stored trial is that of this plan: measured times may give a rule other widths than before."""
    cost = plan.slim
    return (trial.rule, trial.epochs, trial.params, trial.macs) == (rule, epochs, cost.params, cost.macs)


def _trial(recipe: Recipe, analysis: Analysis, network: nn.Module, plan: Plan, rule: str, epochs: int) -> Trial:
    work = analysis.work
    slimmed = initialised(recipe, work.model, proven(analysis, network, plan))
    result = train(
        slimmed.module,
        work.train_batches,
        [next(iter(work.test_batches))],  # the loop wants to test; what it finds is not looked at
        replace(training_settings(recipe, work), epochs=epochs),
        loss=work.loss,
        metric=work.metric,
    )
    return Trial(rule, epochs, result.history[-1].train_loss, plan.slim.params, plan.slim.macs)


def _stored(store: Path | None) -> list[Trial]:
    return [] if store is None or not store.exists() else [Trial(**trial) for trial in json.loads(store.read_text())]


def _keep(store: Path | None, trials: Sequence[Trial]) -> None:
    if store is not None:
        write_whole(store, json.dumps([asdict(trial) for trial in trials]))
