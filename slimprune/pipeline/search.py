"""The search for a rule: short trainings of width profiles at equal budgets, in successive halving."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from slimprune.budget import Plan, profile
from slimprune.files import adapter, read_value, write_atomically
from slimprune.pipeline.stages import (
    SEARCH,
    Analysis,
    allocate_for,
    initialise_slim,
    slim_and_prove,
    training_settings,
)
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Search, SearchTrial
from slimprune.saliency import Scores
from slimprune.training import train
from slimprune.types import Listener

CANDIDATES: tuple[str, ...] = (
    *(profile(score, reuse).name for reuse in (0, 0.1, 0.25, 0.5) for score in (0, 0.25)),
    "global",
)
RUNGS = (1, 2, 4)
"""Epochs of the trials in each rung; half of the candidates advance to the next rung."""


def search_rule(
    recipe: ResolvedRecipe,
    analysis: Analysis,
    network: nn.Module,
    scores: Scores | None,
    listener: Listener,
    *,
    store: Path | None = None,
) -> tuple[Plan, Search]:
    """Return the best of the candidate plans, all within the recipe's budget, and the trials.

    Every trial starts from the weights of `network` and is judged by the mean training loss of its last epoch. After
    few epochs over augmented data, this loss is a proxy for the test loss, so neither test samples nor held-out samples
    influence the choice. The better half advances to trainings that are twice as long.

    Args:
        recipe: Recipe with budget, floor, rounding and training; its number of epochs is ignored.
        analysis: Analysis of the dense network.
        network: Network whose weights the slim one inherits.
        scores: Scores for the candidates that need them.
        listener: Called before every trial and at the end.
        store: JSON file of finished trials, from which to resume.
    """
    began = time.perf_counter()
    plans = _distinct({rule: allocate_for(with_rule(recipe, rule), analysis, scores) for rule in CANDIDATES})
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


def with_rule(recipe: ResolvedRecipe, rule: str) -> ResolvedRecipe:
    """Return the recipe with another rule."""
    return recipe.model_copy(update={"rule": rule})


def _distinct(plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """Return the plans without those whose widths equal an earlier plan's."""
    seen: dict[tuple[int, ...], str] = {}
    for rule, plan in plans.items():
        seen.setdefault(tuple(plan.widths.values()), rule)
    return {rule: plans[rule] for rule in seen.values()}


def _count(candidates: int) -> int:
    """Return the total number of trials."""
    counts = []
    for _ in RUNGS:
        counts.append(candidates)
        candidates = -(-candidates // 2)
    return sum(counts)


def _is_of(trial: SearchTrial, rule: str, epochs: int, plan: Plan) -> bool:
    """Return whether a stored trial is of this plan; with new measured times a rule may give different widths."""
    cost = plan.slim
    return (trial.rule, trial.epochs, trial.params, trial.macs) == (rule, epochs, cost.params, cost.macs)


def _trial(
    recipe: ResolvedRecipe, analysis: Analysis, network: nn.Module, plan: Plan, rule: str, epochs: int
) -> SearchTrial:
    work = analysis.work
    slimmed = initialise_slim(recipe, work.model, slim_and_prove(analysis, network, plan))
    result = train(
        slimmed.module,
        work.train_batches,
        [next(iter(work.test_batches))],  # the training loop requires test batches; the result is ignored
        replace(training_settings(recipe, work), epochs=epochs, distill=None, warm_up=None, milestones=()),
        loss=work.loss,
        metric=work.metric,
        forward_fn=work.forward_fn,
    )
    return SearchTrial(rule, epochs, result.history[-1].train_loss, plan.slim.params, plan.slim.macs)


def _stored(store: Path | None) -> list[SearchTrial]:
    if store is None or not store.exists():
        return []
    return read_value(list[SearchTrial], store.read_bytes(), f"trials {store}")


def _keep(store: Path | None, trials: Sequence[SearchTrial]) -> None:
    if store is not None:
        write_atomically(store, adapter(list[SearchTrial]).dump_json(list(trials)))
