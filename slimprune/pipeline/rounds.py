"""Rounds of pruning and fine-tuning on the way of a trained network to its budget."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from slimprune.budget import Plan
from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.pipeline.plan import choose_plan
from slimprune.pipeline.stages import (
    FOUND_RULES,
    Analysis,
    Start,
    analyse,
    budget_of,
    default_criterion,
    run_training,
    slim_and_prove,
    training_settings,
)
from slimprune.pipeline.trained import settle
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Accuracies, Round
from slimprune.saliency import IterativePruning, make_criterion
from slimprune.surgery import SlimModel, prove
from slimprune.training import TrainResult
from slimprune.types import Listener, ignore

_LEAST = 1e-9
"""Share that a round removes where the round before it removed more than its own."""


@dataclass(frozen=True, eq=False)
class LastRound:
    """What the last round of pruning starts from; the only round unless the recipe has several.

    The network that the earlier rounds left takes the place of the dense one, and the budget is relative to it.

    Attributes:
        recipe: Recipe of the round, with its budget and epochs.
        analysis: Analysis of the network that is pruned.
        start: Networks that the round starts from.
        folder: Folder of the round's plan.
        before: What the earlier rounds left of the dense network; None if there were none.
        dense: Metric of the dense network, if there were earlier rounds.
        done: The earlier rounds.
    """

    recipe: ResolvedRecipe
    analysis: Analysis
    start: Start
    folder: Path
    before: Plan | None = None
    dense: float = 0.0
    done: tuple[Round, ...] = ()

    def of_dense(self, plan: Plan, whole: ResolvedRecipe) -> Plan:
        """Return the plan of this round as one for the dense network and the budget of the whole recipe."""
        if self.before is None:
            return plan
        kept = {group: channels[plan.kept[group]] for group, channels in self.before.kept.items()}
        return replace(plan, groups=self.before.groups, kept=kept, budget=budget_of(whole), dense=self.before.dense)


def check_rounds(recipe: ResolvedRecipe) -> None:
    """Check that the recipe can be carried out in its rounds.

    Raises:
        UsageError: If there are fewer epochs than rounds, or rule, criterion or budget need a single round.
    """
    if (count := recipe.pruning_rounds) == 1:
        return
    if recipe.epochs < count:
        raise UsageError(f"expected at least one epoch for each of {count} rounds, got {recipe.epochs}")
    criterion = recipe.criterion or default_criterion(recipe)
    if isinstance(make_criterion(criterion), IterativePruning):
        raise UsageError(f"expected a criterion without rounds of its own beside --rounds {count}, got {criterion}")
    if not recipe.inherits_training:
        raise UsageError(f"expected init keep beside --rounds {count}, got {recipe.init}")
    if recipe.rule in FOUND_RULES:
        raise UsageError(f"expected a rule that `allocate` knows beside --rounds {count}, got {recipe.rule}")
    if "latency" in budget_of(recipe).ratios:
        raise UsageError(f"expected a budget that is counted beside --rounds {count}, got latency")


def earlier_rounds(
    recipe: ResolvedRecipe,
    analysis: Analysis,
    start: Start,
    folder: Path,
    listener: Listener = ignore,
    *,
    check: Callable[[nn.Module], None] = lambda module: None,
    teacher: nn.Module | None = None,
    log: Path | None = None,
) -> LastRound:
    """Prune and fine-tune in all rounds but the last, resumable in `folder`.

    Round k of N leaves (1 - ratio)^(k / N) of every limited quantity, so that each removes the same share of what is
    left; the epochs are shared out evenly.

    Args:
        recipe: Recipe of the run.
        analysis: Analysis of the dense network.
        start: Networks that the run starts from.
        folder: Folder of plans and checkpoints.
        listener: Called during scoring and training.
        check: Called with the slim network of the first round before it is trained.
        teacher: Network whose outputs are imitated if the recipe distils.
        log: Folder of TensorBoard event files.

    Raises:
        UnsupportedModelError: If a slim network has other channel groups than the dense one.
        VerificationError: If a proof fails.
    """
    last, count = LastRound(recipe, analysis, start, folder), recipe.pruning_rounds
    if count == 1:
        return last
    last = replace(last, recipe=_recipe_of_round(recipe, last, 1), folder=folder / "round 1")
    tune = partial(run_training, teacher=teacher, log=log)
    for number in range(1, count):
        last = _next(recipe, last, number, folder, listener, check if number == 1 else lambda module: None, tune)
    return last


def settle_last(
    last: LastRound, slimmed: SlimModel, listener: Listener = ignore
) -> tuple[SlimModel, Accuracies | None]:
    """Return the slim model of the last round as its training starts from it; see `settle`."""
    slimmed, accuracies = settle(last.recipe, last.analysis.work, last.start, slimmed, listener)
    if last.before is None or accuracies is None:
        return slimmed, accuracies
    return slimmed, replace(accuracies, dense=last.dense)


def with_whole_plan(last: LastRound, recipe: ResolvedRecipe, dense: nn.Module, slimmed: SlimModel) -> SlimModel:
    """Return the slim model of the last round with its plan and proof for the dense network.

    Args:
        last: The last round.
        recipe: Recipe of the run.
        dense: The dense network.
        slimmed: Slim model of the round.

    Raises:
        VerificationError: If the proof fails.
    """
    if last.before is None:
        return slimmed
    whole = replace(slimmed, plan=last.of_dense(slimmed.plan, recipe))
    return whole.with_proof(prove(dense, whole, last.analysis.work.example, trained=True))


def all_rounds(last: LastRound, plan: Plan, accuracies: Accuracies | None, training: TrainResult) -> tuple[Round, ...]:
    """Return all rounds, with the last one after its training; none if there is only one.

    Args:
        last: The last round.
        plan: Its plan for the dense network.
        accuracies: Its accuracies before fine-tuning.
        training: Its training.
    """
    return (*last.done, _round(plan, accuracies, training)) if last.done else ()


def _next(
    recipe: ResolvedRecipe,
    now: LastRound,
    number: int,
    folder: Path,
    listener: Listener,
    check: Callable[[nn.Module], None],
    tune: Callable[..., TrainResult],
) -> LastRound:
    """Prune and fine-tune once; return the round that follows."""
    work = now.analysis.work
    planned = choose_plan(now.recipe, now.analysis, now.start, listener, folder=now.folder)
    slimmed = slim_and_prove(now.analysis, now.start.inherited, planned.plan)
    check(slimmed.module)
    slimmed, accuracies = settle(now.recipe, work, now.start, slimmed, listener)
    store = folder / f"train round {number}"
    result = tune(training_settings(now.recipe, work), work, slimmed.module, store, listener)
    plan = now.of_dense(planned.plan, recipe)
    analysis = analyse(recipe, replace(work, model=slimmed.module), ignore)
    _check_same_groups(plan, analysis)
    following = replace(
        now,
        analysis=analysis,
        start=Start(slimmed.module, slimmed.module),
        folder=folder / f"round {number + 1}",
        before=plan,
        dense=accuracies.dense if number == 1 and accuracies is not None else now.dense,
        done=(*now.done, _round(plan, accuracies, result)),
    )
    return replace(following, recipe=_recipe_of_round(recipe, following, number + 1))


def _recipe_of_round(recipe: ResolvedRecipe, last: LastRound, number: int) -> ResolvedRecipe:
    """Return the recipe of a round, with its epochs and its budget relative to the network that it starts from."""
    count = recipe.pruning_rounds
    target, found = budget_of(recipe).on_the_way(number / count), last.analysis.costs.dense
    dense = found if last.before is None else last.before.dense
    ratios = {of: 1 - (1 - ratio) * dense.of(of) / found.of(of) for of, ratio in target.ratios.items()}
    ratios = {of: max(ratio, _LEAST) for of, ratio in ratios.items()}
    changes = {
        "ratio": ratios.pop(target.of),
        "also": ratios,
        "floor": recipe.floor ** (1 / count),
        "epochs": recipe.epochs * number // count - recipe.epochs * (number - 1) // count,
    }
    return recipe.model_copy(update=changes)


def _check_same_groups(plan: Plan, analysis: Analysis) -> None:
    """Check that a slim network has the groups of its plan, of the widths that were left.

    Raises:
        UnsupportedModelError: If it has others.
    """
    found = {group.id: group.width for group in analysis.groups}
    for group in {**plan.widths, **found}:
        if found.get(group) != plan.widths.get(group):
            raise UnsupportedModelError(
                f"expected the slim network's channel groups to be those of the dense one for --rounds, got "
                f"{found.get(group)} channels of {group} instead of {plan.widths.get(group)}"
            )


def _round(plan: Plan, accuracies: Accuracies | None, training: TrainResult) -> Round:
    pruned = None if accuracies is None else accuracies.pruned
    reconstructed = None if accuracies is None else accuracies.reconstructed
    return Round(plan.achieved, pruned, reconstructed, training.epochs, training.final)
