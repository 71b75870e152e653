"""The steps from a workload to a trained slim network, which `compress`, `plan` and `compare` put together."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from slimprune.budget import Budget, Cost, CostModel, Costs, Plan, allocate, control_plan, find_rule, schedule_target
from slimprune.errors import BudgetError, UnsupportedModelError, UsageError
from slimprune.graph import ChannelGroup, find_groups, free_groups
from slimprune.measure import PeakMemory, count_macs, count_macs_fvcore, count_params, weight_bytes
from slimprune.models import load_weights, save_weights
from slimprune.pipeline.workload import Workload, seeded
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Measured, Saliency, SecondOpinion, differ
from slimprune.saliency import Scores, check_gate, make_criterion, score
from slimprune.surgery import SlimModel, initialise, prove, slim
from slimprune.training import TrainResult, TrainSettings, count_batches, train
from slimprune.types import Listener, ignore, under

SEARCH = "search"
"""Stands in place of a rule where the rule is to be found by short trainings, see `search_rule`."""

REWIND_SHARE = 0.02
"""Share of the dense training to whose end `rewind` goes back by default."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """The dense network, understood: its channel groups and what widths cost.

    Attributes:
        work: the workload.
        groups: all channel groups of its model.
        costs: widths to parameters and MACs, and to latency where that was measured.
    """

    work: Workload
    groups: Sequence[ChannelGroup]
    costs: Costs

    @cached_property
    def fvcore_macs(self) -> int | str:
        """MACs of the dense network as fvcore counts them, or why it cannot."""
        return fvcore_macs(self.work.model, self.work.example)


@dataclass(frozen=True, eq=False)
class Start:
    """The networks that slimming starts from.

    Attributes:
        scored: the network whose channels are scored.
        inherited: the network from which the slim one takes its weights.
        dense_training: how the dense network was trained, None before training.
    """

    scored: nn.Module
    inherited: nn.Module
    dense_training: TrainResult | None = None


def check_names(recipe: ResolvedRecipe) -> None:
    """Refuses a rule, a criterion, an option or a budget that there cannot be, before anything is built."""
    if recipe.rule != SEARCH:
        find_rule(recipe.rule)
    criterion = make_criterion(recipe.criterion, **recipe.criterion_options())
    check_gate(recipe.criterion, criterion, recipe.gate)
    budget_of(recipe)


def analyse(recipe: ResolvedRecipe, work: Workload, listener: Listener) -> Analysis:
    """Channel groups and costs of the model.

    Raises:
        BudgetError: all channels are protected on request.
        UnsupportedModelError: no channel can be removed.
    """
    groups = find_groups(
        work.model,
        work.example,
        protect=recipe.protect,
        progress=listener,
    )
    if not free_groups(groups):
        # Asked for, it is a budget that cannot be met; otherwise it is the model.
        refusal = BudgetError if recipe.protect else UnsupportedModelError
        whole = "; ".join(f"{group.id}: {group.protected_reason}" for group in groups)
        raise refusal(f"expected channels that may be removed, got none ({whole or 'no convolution or linear layer'})")
    return Analysis(work, groups, CostModel.of(work.model, groups, work.example))


def starting_networks(recipe: ResolvedRecipe, work: Workload, store: Path, listener: Listener) -> Start:
    """The networks to start from; unless `before-training`, the dense one is trained first, resumable in `store`.

    Raises:
        UsageError: the training has fewer steps than the rewinding wants to go back to.
    """
    if recipe.when == "before-training":
        return Start(work.model, work.model)
    settings = dense_settings(recipe, work)
    trained, early = copy.deepcopy(work.model), copy.deepcopy(work.model)
    if recipe.when == "after-training":
        return Start(trained, trained, run_training(settings, work, trained, store, listener))
    steps, snapshot = settings.epochs * count_batches(work.train_batches), store / "early.safetensors"
    back_to = round(REWIND_SHARE * steps) if recipe.rewind_step is None else recipe.rewind_step
    if back_to > steps:
        raise UsageError(f"expected rewind_step within the {steps} steps of the dense training, got {back_to}")

    def keep_early(module: nn.Module, done: int) -> None:
        if done == back_to:
            save_weights(module, snapshot)

    result = run_training(settings, work, trained, store, listener, after_step=keep_early)
    if back_to > 0:
        load_weights(early, snapshot)
    return Start(trained, early, result)


def budget_of(recipe: ResolvedRecipe) -> Budget:
    """What the recipe asks to remove."""
    return Budget(recipe.ratio, recipe.of, recipe.also)


def check_budget(recipe: ResolvedRecipe, analysis: Analysis, listener: Listener = ignore) -> None:
    """Refuses an impossible budget before any time is spent on scores.

    Args:
        recipe: what to remove.
        analysis: the dense network, understood.
        listener: hears where MACs are asked for and fvcore counts others, or cannot count them.

    Raises:
        BudgetError: the floor alone is above it.
    """
    if "macs" in budget_of(recipe).ratios:
        own, second = analysis.costs.dense.macs, analysis.fvcore_macs
        if isinstance(second, str):
            listener("check", 1, 1, f"no second count of MACs: {second}")
        elif differ(second, own):
            listener("check", 1, 1, f"the dense network takes {own:,} MACs, fvcore counts {second:,}")
    allocate_for(recipe.model_copy(update={"rule": "uniform", "twin": None}), analysis, None)


def needs_scores(recipe: ResolvedRecipe) -> bool:
    """Whether the plan depends on scores."""
    return recipe.rule == SEARCH or recipe.twin == "invert" or find_rule(recipe.rule).needs_scores


def score_channels(
    recipe: ResolvedRecipe, analysis: Analysis, network: nn.Module, listener: Listener
) -> tuple[Scores, Saliency]:
    """Scores of all channels of `network`, and how they were found."""
    began, work = time.perf_counter(), analysis.work
    goal = schedule_target(
        analysis.groups,
        budget_of(recipe),
        analysis.costs,
        rule="global" if recipe.rule == SEARCH else recipe.rule,
        floor=recipe.floor,
        round_to=multiple(recipe),
    )
    with PeakMemory(work.example.device) as memory, seeded(recipe.seed):
        scores = score(
            network,
            analysis.groups,
            work.scoring_batches,
            work.loss,
            criterion=make_criterion(recipe.criterion, **recipe.criterion_options()),
            gate=recipe.gate,
            draws=recipe.draws,
            dtype=getattr(torch, recipe.dtype),
            seed=recipe.seed,
            target=goal,
            progress=lambda stage, done, total, _: listener(stage, done, total, recipe.criterion),
        )
    seconds = time.perf_counter() - began
    return scores, Saliency(recipe.criterion, scores.steps, scores.draws, scores.stability, seconds, memory.peak_bytes)


def multiple(recipe: ResolvedRecipe) -> int:
    """What widths are multiples of; 1 as long as that is to be chosen by measurement."""
    return recipe.round_to if isinstance(recipe.round_to, int) else 1


def allocate_for(recipe: ResolvedRecipe, analysis: Analysis, scores: Scores | None) -> Plan:
    """The plan for the recipe's budget."""
    plan = allocate(
        scores,
        analysis.groups,
        budget_of(recipe),
        analysis.costs,
        rule=recipe.rule,
        floor=recipe.floor,
        round_to=multiple(recipe),
    )
    return plan if recipe.twin is None else control_plan(plan, recipe.twin, scores, seed=recipe.seed)


def slim_and_prove(analysis: Analysis, network: nn.Module, plan: Plan) -> SlimModel:
    """The slim model with the weights of `network`, proven.

    Raises:
        VerificationError: the proof did not pass.
    """
    slimmed = slim(network, plan)
    return slimmed.with_proof(prove(network, slimmed, analysis.work.example))


def initialise_slim(recipe: ResolvedRecipe, network: nn.Module, slimmed: SlimModel) -> SlimModel:
    """The slim model with the initial weights that its training is to start from."""
    if recipe.init == "keep":
        return slimmed
    return replace(slimmed, module=initialise(slimmed.module, network, recipe.init, seed=recipe.seed))


def training_settings(recipe: ResolvedRecipe, work: Workload) -> TrainSettings:
    """How the recipe trains."""
    return TrainSettings(
        epochs=recipe.epochs,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        schedule=recipe.schedule,
        amp=recipe.amp,
        fast=recipe.fast,
        device=str(work.example.device),
        seed=recipe.seed,
    )


def dense_settings(recipe: ResolvedRecipe, work: Workload) -> TrainSettings:
    """How the recipe trains the dense network."""
    settings = training_settings(recipe, work)
    return replace(settings, epochs=recipe.dense_epochs or settings.epochs)


def run_training(
    settings: TrainSettings,
    work: Workload,
    module: nn.Module,
    store: Path,
    listener: Listener,
    *,
    after_step: Callable[[nn.Module, int], None] = lambda module, done: None,
) -> TrainResult:
    """Trains `module` in place, resumable in `store`, whose name is what the listener hears.

    Args:
        settings: how to train.
        work: batches, loss and metric.
        module: what to train.
        store: folder of the checkpoints.
        listener: called after every step.
        after_step: called with the module and the number of steps done.
    """
    return train(
        module,
        work.train_batches,
        work.test_batches,
        settings,
        loss=work.loss,
        metric=work.metric,
        progress=under(store.name, listener),
        after_step=lambda done: after_step(module, done),
        checkpoint=store,
    )


def fvcore_macs(module: nn.Module, example: Tensor) -> int | str:
    """MACs of a network as fvcore counts them, or why it cannot."""
    try:
        return count_macs_fvcore(module, example)
    except UnsupportedModelError as error:
        return str(error)


def second_opinion(analysis: Analysis, slim: nn.Module) -> SecondOpinion:
    """What fvcore counts in the dense network and in the slim one."""
    counts = analysis.fvcore_macs, fvcore_macs(slim, analysis.work.example)
    dense, small = (count if isinstance(count, int) else None for count in counts)
    return SecondOpinion(dense, small, next((count for count in counts if isinstance(count, str)), None))


def measure_network(module: nn.Module, example: Tensor, channels: int) -> Measured:
    """What a network takes, counted on the network itself."""
    return Measured(Cost(count_params(module), count_macs(module, example), channels), weight_bytes(module))
