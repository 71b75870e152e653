"""The steps from a workload to a trained slim network, from which `compress`, `plan` and `compare` are built."""

import copy
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from slimprune.budget import Budget, Cost, CostModel, Costs, Plan, allocate, control_plan, find_rule, schedule_target
from slimprune.errors import BudgetError, UnsupportedModelError, UsageError
from slimprune.graph import ChannelGroup, Example, find_groups, free_groups
from slimprune.graph.example import first_samples
from slimprune.masks import find_mask_rule
from slimprune.measure import PeakMemory, count_macs, count_macs_fvcore, count_params, macs_by_parameter, weight_bytes
from slimprune.models import load_weights, save_weights
from slimprune.pipeline.workload import Workload, seeded
from slimprune.recipe import DEFAULT_CRITERIA, EARLY_BIRD_CRITERION, WEIGHT_CRITERIA, ResolvedRecipe
from slimprune.results import EarlyBird, Measured, Saliency, SecondOpinion, differ
from slimprune.saliency import (
    IterativePruning,
    Scores,
    average_of,
    check_gate,
    check_unit,
    make_criterion,
    score,
)
from slimprune.surgery import SlimModel, initialise, prove, slim
from slimprune.training import EpochRecord, Penalty, TrainResult, TrainSettings, count_batches, train
from slimprune.types import REMARK, Listener, ignore, under

SEARCH = "search"
"""Value of `rule` that means a search for the rule by short trainings; see `search_rule`."""

LEARNED = "learned"
"""Value of `rule` that means widths found by weight sharing; see `learn_widths`."""

PROSPECT = "prospect"
"""Value of `rule` that means widths by scores that are taken at the budget; see `prospect_widths`."""

ADJUSTED = "adjusted"
"""Value of `rule` that means widths by what channels are worth in a trained network; see `adjusted_widths`."""

FOUND_RULES: Collection[str] = (SEARCH, LEARNED, PROSPECT, ADJUSTED)
"""Rules that find another rule by trainings or by scores of narrower networks."""

_SCHEDULED = {SEARCH: "global", LEARNED: "uniform", PROSPECT: "uniform", ADJUSTED: "uniform"}
"""Rules that iterative criteria narrow the network by, before the rule is known."""

REWIND_SHARE = 0.02
"""Fraction of the dense training's steps to which `rewind` goes back by default."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """The channel groups of the dense network and the costs of their widths.

    Attributes:
        work: Workload with the dense network.
        groups: All channel groups of its model.
        costs: Cost model of parameters and MACs, and of latency if that was measured.
    """

    work: Workload
    groups: Sequence[ChannelGroup]
    costs: Costs

    @cached_property
    def fvcore_macs(self) -> int | str:
        """MACs of the dense network as counted by fvcore, or the reason why it cannot count them."""
        return fvcore_macs(self.work.model, self.work.example)


@dataclass(frozen=True, eq=False)
class Start:
    """The networks that slimming starts from.

    Attributes:
        scored: Network whose channels are scored.
        inherited: Network from which the slim one takes its weights.
        dense_training: Training of the dense network; None if it is not trained or was trained before.
        accuracies: Metrics of `scored` that were measured already, by name.
        earlier: Epochs of the slim network's training that `inherited` was trained for.
        early_bird: Where these epochs end; None if the training starts anew.
    """

    scored: nn.Module
    inherited: nn.Module
    dense_training: TrainResult | None = None
    accuracies: dict[str, float] = field(default_factory=dict)
    earlier: tuple[EpochRecord, ...] = ()
    early_bird: EarlyBird | None = None


def check_names(recipe: ResolvedRecipe) -> None:
    """Check rule, criterion, its options and gate, and budget, before anything is built.

    Raises:
        UsageError: If a name is unknown, an option is not the criterion's, or the weights of a trained network are
            missing.
    """
    name = recipe.criterion or default_criterion(recipe)
    criterion = make_criterion(name, **recipe.criterion_options())
    if recipe.masks_weights:
        _check_masking(recipe)
        check_unit(name, criterion, recipe.unit)
        if recipe.rewinding_rounds > 1 and isinstance(criterion, IterativePruning):
            rounds = f"--rounds {recipe.rounds} of rewinding"
            raise UsageError(f"expected a criterion without rounds of its own beside {rounds}, got {name}")
    else:
        if recipe.rule not in FOUND_RULES:
            find_rule(recipe.rule)
        check_gate(name, criterion, recipe.gate)
    average_of(name, criterion, recipe.average)
    budget_of(recipe)
    _check_weights(recipe)
    _check_teacher(recipe)
    if recipe.when == "during-training":
        check_one_schedule(recipe)
        if (last := recipe.prune_epoch or 1) >= recipe.epochs:
            raise UsageError(f"expected --prune-epoch below the {recipe.epochs} epochs, got {last}")


def check_one_schedule(recipe: ResolvedRecipe) -> None:
    """Check what a training cannot be combined with that goes on with a network pruned on the way.

    Raises:
        UsageError: If the recipe has such an option.
    """
    for name in ("ema", "distill", "patience"):
        if (given := getattr(recipe, name)) is not None:
            raise UsageError(f"expected no --{name} beside --when {recipe.when}, got {given}")


def _check_masking(recipe: ResolvedRecipe) -> None:
    """Check what a mask of single weights cannot be combined with."""
    if recipe.of != "params" or recipe.also:
        found = ", ".join([recipe.of, *recipe.also])
        raise UsageError(f"expected a budget of params alone beside --unit weights, got {found}")
    find_mask_rule(recipe.rule)
    if recipe.init == "rescale":
        raise UsageError("expected --init keep or reinit beside --unit weights, got rescale")
    if (count := recipe.pruning_rounds) > 1:
        raise UsageError(
            f"expected --when rewind, or one round of pruning, beside --unit weights, got --rounds {count}"
        )


def _check_teacher(recipe: ResolvedRecipe) -> None:
    if recipe.distill is not None and recipe.when == "before-training" and not recipe.train_dense:
        raise UsageError("expected --train-dense, or weights of a trained network, beside --distill, got neither")


def _check_weights(recipe: ResolvedRecipe) -> None:
    if recipe.when == "trained" and recipe.arch is not None and not recipe.has_weights:
        raise UsageError("expected --weights of the trained network beside --when trained, got none")
    if recipe.pretrained and recipe.weights is not None:
        raise UsageError(f"expected --weights or --pretrained, got both (--weights {recipe.weights})")
    if recipe.reset_head and not recipe.has_weights:
        raise UsageError("expected --weights or --pretrained beside --reset-head, got neither")


def with_criterion(recipe: ResolvedRecipe) -> ResolvedRecipe:
    """Return the recipe with the criterion by which it scores; None if nothing is scored.

    A criterion that is named always scores: if the rule sets widths without scores, it chooses the channels. The
    channels of an untrained network are alike, so without a name they are scored only where the widths depend on it.
    """
    if recipe.criterion is not None:
        return recipe
    named = default_criterion(recipe) if needs_scores(recipe) else None
    return recipe.model_copy(update={"criterion": named})


def default_criterion(recipe: ResolvedRecipe) -> str:
    """Return the criterion for a recipe that names none."""
    if recipe.when == "early-bird":
        return EARLY_BIRD_CRITERION
    defaults = WEIGHT_CRITERIA if recipe.masks_weights else DEFAULT_CRITERIA
    return defaults[recipe.when != "before-training"]


def analyse(recipe: ResolvedRecipe, work: Workload, listener: Listener) -> Analysis:
    """Find the channel groups of the model and their costs.

    Raises:
        BudgetError: If no channel can be removed and the recipe protects layers.
        UnsupportedModelError: If no channel can be removed and the recipe protects none.
    """
    groups = find_groups(
        work.model,
        work.example,
        protect=recipe.protect,
        progress=listener,
    )
    if not free_groups(groups):
        # If the recipe protects layers, its budget cannot be met; otherwise the model is unsupported.
        refusal = BudgetError if recipe.protect else UnsupportedModelError
        whole = "; ".join(f"{group.id}: {group.protected_reason}" for group in groups)
        raise refusal(f"expected channels that may be removed, got none ({whole or 'no convolution or linear layer'})")
    return Analysis(work, groups, CostModel.of(work.model, groups, work.example))


def starting_networks(
    recipe: ResolvedRecipe,
    work: Workload,
    store: Path,
    listener: Listener,
    *,
    penalty: Penalty | None = None,
    log: Path | None = None,
) -> Start:
    """Return the networks to start from; unless `before-training`, first train the dense one, resumable in `store`.

    With `during-training` it is trained for the first epochs of the training that the pruned network goes on with.

    Args:
        recipe: Recipe of the run.
        work: Workload with the dense network.
        store: Folder of the checkpoints.
        listener: Called after every step.
        penalty: Penalty on the weights of the dense network; see `penalty_of`.
        log: Folder of TensorBoard event files.

    Raises:
        UsageError: If the dense training has fewer steps than `rewind_step`.
    """
    if recipe.when in ("before-training", "trained", "gradual", "early-bird"):
        return Start(work.model, work.model)
    if recipe.when == "during-training":
        return _early_epochs(recipe, work, store.with_name(f"{store.name} early"), listener, penalty, log)
    settings = dense_settings(recipe, work)
    train_it = partial(run_training, settings, work, penalty=penalty, log=log)
    trained, early = copy.deepcopy(work.model), copy.deepcopy(work.model)
    if recipe.when == "after-training":
        return Start(trained, trained, train_it(trained, store, listener))
    steps, snapshot = settings.epochs * count_batches(work.train_batches), store / "early.safetensors"
    back_to = round(REWIND_SHARE * steps) if recipe.rewind_step is None else recipe.rewind_step
    if back_to > steps:
        raise UsageError(f"expected rewind_step within the {steps} steps of the dense training, got {back_to}")

    def keep_early(module: nn.Module, done: int) -> None:
        if done == back_to:
            save_weights(module, snapshot)

    result = train_it(trained, store, listener, after_step=keep_early)
    if back_to > 0:
        load_weights(early, snapshot)
    return Start(trained, early, result)


def _early_epochs(
    recipe: ResolvedRecipe, work: Workload, store: Path, listener: Listener, penalty: Penalty | None, log: Path | None
) -> Start:
    """Return the dense network after the first epochs of its training."""
    module, last = copy.deepcopy(work.model), recipe.prune_epoch or 1
    result = run_training(
        training_settings(recipe, work),
        work,
        module,
        store,
        listener,
        penalty=penalty,
        log=log,
        enough=lambda epochs: epochs >= last,
    )
    return Start(module, module, earlier=result.history)


def earlier_epochs(recipe: ResolvedRecipe, start: Start) -> tuple[EpochRecord, ...]:
    """Return the epochs that the pruned network was trained for already; none if its weights are drawn anew."""
    return start.earlier if recipe.init == "keep" else ()


def budget_of(recipe: ResolvedRecipe) -> Budget:
    """Return the budget of the recipe."""
    return Budget(recipe.ratio, recipe.of, recipe.also)


def check_budget(recipe: ResolvedRecipe, analysis: Analysis, listener: Listener = ignore) -> None:
    """Check that the budget can be met, before any time is spent on scores.

    Args:
        recipe: Recipe with the budget.
        analysis: Analysis of the dense network.
        listener: Called if the budget limits MACs and fvcore counts them differently or cannot count them.

    Raises:
        BudgetError: If the floor alone exceeds the budget.
    """
    if "macs" in budget_of(recipe).ratios:
        own, second = analysis.costs.dense.macs, analysis.fvcore_macs
        if isinstance(second, str):
            listener(REMARK, 1, 1, f"no second count of MACs: {second}")
        elif differ(second, own):
            listener(REMARK, 1, 1, f"the dense network takes {own:,} MACs, fvcore counts {second:,}")
    allocate_for(recipe.model_copy(update={"rule": "uniform", "twin": None}), analysis, None)


def needs_scores(recipe: ResolvedRecipe) -> bool:
    """Return whether the plan depends on scores."""
    return (
        recipe.masks_weights
        or _widths_need_scores(recipe.rule)
        or recipe.criterion is not None
        or recipe.twin == "invert"
        or recipe.when != "before-training"
    )


def _widths_need_scores(rule: str) -> bool:
    return rule in (SEARCH, PROSPECT) or (rule not in (LEARNED, ADJUSTED) and find_rule(rule).needs_scores)


def score_channels(
    recipe: ResolvedRecipe, analysis: Analysis, network: nn.Module, listener: Listener
) -> tuple[Scores, Saliency]:
    """Score all channels of `network`; return the scores and how they were computed."""
    began, work = time.perf_counter(), analysis.work
    criterion = recipe.criterion or default_criterion(recipe)
    goal = schedule_target(
        analysis.groups,
        budget_of(recipe),
        analysis.costs,
        rule=_SCHEDULED.get(recipe.rule, recipe.rule),
        floor=recipe.floor,
        round_to=multiple(recipe),
    )
    with PeakMemory(work.device) as memory, seeded(recipe.seed):
        scores = score(
            network,
            analysis.groups,
            work.scoring_batches,
            work.loss,
            criterion=make_criterion(criterion, **recipe.criterion_options()),
            gate=recipe.gate,
            draws=recipe.draws,
            dtype=getattr(torch, recipe.dtype),
            average=recipe.average,
            seed=recipe.seed,
            target=goal,
            progress=lambda stage, done, total, _: listener(stage, done, total, criterion),
            forward_fn=work.forward_fn,
            ranks=work.across.ranks,
            split_draws=recipe.split_draws,
        )
    seconds = time.perf_counter() - began
    return scores, Saliency.of(criterion, scores, seconds, memory.peak_bytes)


def multiple(recipe: ResolvedRecipe) -> int:
    """Return the number of which widths are multiples; 1 if it is yet to be chosen by measurement."""
    return recipe.round_to if isinstance(recipe.round_to, int) else 1


def allocate_for(recipe: ResolvedRecipe, analysis: Analysis, scores: Scores | None) -> Plan:
    """Return the plan for the recipe's budget."""
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
    """Return the slim model with the weights of `network` and its proof.

    Raises:
        VerificationError: If the proof fails.
    """
    slimmed = slim(network, plan)
    return slimmed.with_proof(prove(network, slimmed, analysis.work.example))


def initialise_slim(recipe: ResolvedRecipe, network: nn.Module, slimmed: SlimModel) -> SlimModel:
    """Return the slim model with the initial weights from which its training starts."""
    if recipe.init == "keep":
        return slimmed
    return replace(slimmed, module=initialise(slimmed.module, network, recipe.init, seed=recipe.seed))


def training_settings(recipe: ResolvedRecipe, work: Workload) -> TrainSettings:
    """Return the recipe's settings for the training of the slim network; `with_precision` has decided `amp`."""
    assert isinstance(recipe.amp, bool)
    return TrainSettings(
        epochs=recipe.epochs,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        schedule=recipe.schedule,
        milestones=recipe.milestones,
        warm_up=recipe.warm_up,
        amp=recipe.amp,
        fast=recipe.fast,
        device=str(work.device),
        seed=recipe.seed,
        optimizer=recipe.optimizer,
        label_smoothing=recipe.label_smoothing,
        class_weights=work.class_weights,
        ema=recipe.ema,
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
        patience=recipe.patience,
        distill=recipe.distill,
        temperature=recipe.temperature,
    )


def dense_settings(recipe: ResolvedRecipe, work: Workload) -> TrainSettings:
    """Return the recipe's settings for the training of the dense network."""
    settings = training_settings(recipe, work)
    return replace(settings, epochs=recipe.dense_epochs or settings.epochs, distill=None)


def run_training(
    settings: TrainSettings,
    work: Workload,
    module: nn.Module,
    store: Path,
    listener: Listener,
    *,
    after_step: Callable[[nn.Module, int], None] = lambda module, done: None,
    teacher: nn.Module | None = None,
    penalty: Penalty | None = None,
    log: Path | None = None,
    masks: Mapping[str, Tensor] | None = None,
    earlier: Sequence[EpochRecord] = (),
    enough: Callable[[int], bool] = lambda epochs: False,
) -> TrainResult:
    """Train `module` in place, resumable in `store`.

    Args:
        settings: Settings of the training.
        work: Workload with batches, loss and metric.
        module: Module to train.
        store: Folder of the checkpoints; its name is the stage that the listener receives.
        listener: Called after every step.
        after_step: Called with the module and the number of steps done.
        teacher: Network whose outputs are imitated if the settings distil.
        penalty: Penalty on the weights.
        log: Folder of TensorBoard event files, one folder in it for each store.
        masks: Masks of the weights that are trained; the others are held at zero.
        earlier: Records of epochs for which the module was trained before.
        enough: Function of the number of epochs done: whether the training ends there.
    """
    return train(
        module,
        work.train_batches,
        work.test_batches,
        settings,
        loss=work.loss,
        metric=work.metric,
        further=work.further,
        progress=under(store.name, listener),
        after_step=lambda done: after_step(module, done),
        checkpoint=store,
        forward_fn=work.forward_fn,
        teacher=teacher,
        penalty=penalty,
        log=None if log is None else log / store.name.replace(" ", "-"),
        validation_batches=work.validation_batches,
        masks=masks,
        earlier=earlier,
        enough=enough,
        across=work.across,
    )


def fvcore_macs(module: nn.Module, example: Example) -> int | str:
    """Return the MACs of a network as counted by fvcore, or the reason why it cannot count them."""
    if not isinstance(example, Tensor):
        return "fvcore is asked about one input tensor only"
    try:
        return count_macs_fvcore(module, example)
    except UnsupportedModelError as error:
        return str(error)


def second_opinion(analysis: Analysis, slim: nn.Module) -> SecondOpinion:
    """Return the MACs of the dense and the slim network as counted by fvcore."""
    counts = analysis.fvcore_macs, fvcore_macs(slim, analysis.work.example)
    dense, small = (count if isinstance(count, int) else None for count in counts)
    return SecondOpinion(dense, small, next((count for count in counts if isinstance(count, str)), None))


def measure_network(module: nn.Module, example: Example, channels: int) -> Measured:
    """Return the costs of a network, counted on the network itself."""
    return Measured(Cost(count_params(module), macs_of(module, example), channels), weight_bytes(module))


def macs_of(module: nn.Module, example: Example) -> int:
    """Return the MACs of one sample."""
    if isinstance(example, Tensor):
        return count_macs(module, example)
    return macs_by_parameter(module, *first_samples(example)).total
