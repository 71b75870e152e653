"""The commands `compress` and `plan`: the steps of a run, in order."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Unpack, cast

from torch import nn

from slimprune.budget import CostModel
from slimprune.data import Batch
from slimprune.errors import UsageError
from slimprune.files import ReportDocument
from slimprune.forward import ForwardFn, Loss
from slimprune.pipeline.autocast import with_precision
from slimprune.pipeline.chosen_task import check_task_names
from slimprune.pipeline.class_weights import class_weights_of, count_targets
from slimprune.pipeline.early_bird import check_early_bird, draw_early
from slimprune.pipeline.export import check_exportable, export_trained
from slimprune.pipeline.gradual import check_gradual
from slimprune.pipeline.latency import check_timing, time_trained, with_latency_model
from slimprune.pipeline.masks import describe_masked, mask_weights, maskable_weights, masked_model, plan_masks
from slimprune.pipeline.pictures import draw_pictures
from slimprune.pipeline.plan import PlannedPruning, choose_plan, stored_pruning
from slimprune.pipeline.preprocessing import with_own_preprocessing
from slimprune.pipeline.processes import check_processes, device_of_run, environment_of, in_processes
from slimprune.pipeline.pruned import PrunedNetwork, export_check, start_pruning
from slimprune.pipeline.rounds import (
    all_rounds,
    check_rounds,
    earlier_rounds,
    settle_last,
    with_whole_plan,
)
from slimprune.pipeline.stages import (
    Analysis,
    Start,
    analyse,
    check_budget,
    check_names,
    dense_settings,
    earlier_epochs,
    initialise_slim,
    measure_network,
    run_training,
    second_opinion,
    slim_and_prove,
    training_settings,
    with_criterion,
)
from slimprune.pipeline.staging import Outputs, staged_outputs
from slimprune.pipeline.training_checks import check_training, log_folder
from slimprune.pipeline.workload import OWN_BATCHES, Given, Workload, further_metrics, named_workload, own_workload
from slimprune.recipe import RecipeSettings, ResolvedRecipe, SettingsBesideTask, make_recipe, without_effect
from slimprune.report import markdown, report_html
from slimprune.results import Report, Round
from slimprune.surgery import SlimModel
from slimprune.tasks import Task
from slimprune.training import AnyMetric, TrainResult
from slimprune.types import AUTO, REMARK, Listener, ignore


def compress(
    model: nn.Module | str | None = None,
    *,
    train_batches: Iterable[Batch] | None = None,
    test_batches: Iterable[Batch] | None = None,
    task: Task | str | None = None,
    loss: Loss | str = AUTO,
    metric: AnyMetric | object = AUTO,
    forward_fn: ForwardFn | None = None,
    listener: Listener = ignore,
    **settings: Unpack[SettingsBesideTask],
) -> Report:
    """Score, slim, prove, train, export and verify a model; write the ONNX file, a bundle and a report.

    Args:
        model: Architecture name, or a module, which is not modified and requires both kinds of batches.
        train_batches: Re-iterable of `(inputs [N, ...], targets)`, such as a `DataLoader`; several inputs in a tuple or
            list, or a mapping of them. With a `forward_fn` whatever it takes.
        test_batches: The same for testing and for verifying the export; at least 32 samples are advisable.
        task: What the network is for, by name (`slimprune list tasks`) or as a `Task`; by default, what the targets say
            if they are integers.
        loss: Name of one of the task's losses, or for a module a function (output, targets) -> scalar.
        metric: Name of one of the task's metrics, or for a module a `Metric` or a metric object of torchmetrics.
        forward_fn: For a module that is not called with its inputs, (model, batch) -> output. Loss and metric are then
            your own, of (output, batch).
        listener: Called during the run.
        **settings: Fields of `Recipe`; `out` is required.

    Returns:
        The report. Use `slimprune.load` to load the slim module. Of several processes that share the run, within
        `slimprune.process_group`, the first one writes, measures and verifies the files; the reports of the others end
        with the training.

    Raises:
        SlimpruneError: If a step fails; see `slimprune.errors` for the subclasses.
    """
    began = time.perf_counter()
    given = Given(train_batches, test_batches, task, loss, metric, forward_fn)
    named = {name: part for name, part in (("task", task), ("loss", loss), ("metric", metric)) if isinstance(part, str)}
    recipe, own, notes = checked_recipe(model, given, {**settings, **named})
    announce(notes, listener)
    device = device_of_run(recipe)
    with staged_outputs(recipe.out, recipe.hash if own is None else None) as outputs:
        stage = outputs.stage
        work = in_processes(recipe, _workload(recipe, own, given, device))
        if own is None:
            outputs.resume_from(work.fingerprint)
        check_exportable(work.model, outputs.out)
        check_training(recipe, work)
        pruned = pruned_network(recipe, work, outputs, listener)
        report, slimmed, log = pruned.report, pruned.slimmed, log_folder(recipe)
        dense, dense_training = _train_dense(recipe, work, pruned.start, stage / "train dense", listener, log)
        training = run_training(
            training_settings(pruned.recipe, work),
            work,
            slimmed.module,
            stage / "train",
            listener,
            teacher=pruned.teacher,
            log=log,
            masks=pruned.masks,
            earlier=pruned.earlier,
        )
        if not work.across.ranks.first:
            training_alone = replace(report, training=training, dense_training=dense_training, notes=notes)
            return replace(training_alone, seconds=time.perf_counter() - began)
        pictures = draw_pictures(work, slimmed.module, dense, outputs.staged(outputs.pictures))
        report = replace(report, training=training, dense_training=dense_training)
        rounds = all_rounds(pruned.last, slimmed.plan, report.accuracies, training) if pruned.last is not None else ()
        if report.rounds and report.masks is not None:
            last = Round(report.masks.sparsity, None, None, training.epochs, training.final)
            rounds = (*report.rounds, last)
        report = replace(report, rounds=rounds, pictures=pictures, notes=notes)
        report = export_trained(report, work, slimmed, outputs, listener)
        report = replace(report, trained_latency=time_trained(pruned.recipe, work, slimmed, listener))
        report = replace(report, seconds=time.perf_counter() - began)
        _publish(report.to_json(), outputs)
    return report


def plan(*, listener: Listener = ignore, **settings: Unpack[RecipeSettings]) -> Report:
    """Score and allocate only, without training or writing anything.

    Args:
        listener: Called during the run.
        **settings: Fields of `Recipe`.

    Raises:
        UsageError: If the recipe trains the dense network before scoring it.
    """
    began = time.perf_counter()
    recipe, _, notes = checked_recipe(None, Given(), settings)
    if recipe.when not in ("before-training", "trained"):
        asked = "" if settings.get("when") else ", the default with --reset-head"
        raise UsageError(
            f"expected when: before-training or trained to plan without training, got {recipe.when}{asked}"
        )
    if (count := recipe.pruning_rounds) > 1:
        raise UsageError(f"expected one round to plan without training, got {count}")
    announce(notes, listener)
    work = in_processes(recipe, named_workload(recipe, device_of_run(recipe)))
    start = Start(work.model, work.model)
    if recipe.masks_weights:
        masks = plan_masks(recipe, work, maskable_weights(recipe, work), work.model, listener)
        report = describe_masked(recipe, work, masked_model(recipe, work, start, masks), masks)
    else:
        analysis = _analyse(recipe, work, None, listener)
        planned = choose_plan(recipe, analysis, start, listener)
        report = _describe(recipe, analysis, slim_and_prove(analysis, work.model, planned.plan), planned)
    return replace(report, notes=notes, seconds=time.perf_counter() - began)


def pruned_network(recipe: ResolvedRecipe, work: Workload, outputs: Outputs, listener: Listener) -> PrunedNetwork:
    """Return the network with masked weights or without the removed channels, as its training starts from it."""
    prune_it = mask_weights if recipe.masks_weights else _slim_channels
    return prune_it(recipe, work, outputs, listener)


def _slim_channels(recipe: ResolvedRecipe, work: Workload, outputs: Outputs, listener: Listener) -> PrunedNetwork:
    """Return the network without the channels that are removed, proven and checked for its export."""
    stage, log = outputs.stage, log_folder(recipe)
    analysis = _analyse(recipe, work, stored_pruning(stage), listener)
    start, teacher = start_pruning(recipe, work, stage, listener)
    check = export_check(recipe, work, outputs)
    if recipe.when == "early-bird":
        start = draw_early(recipe, analysis, stage, listener, log=log)
    last = earlier_rounds(recipe, analysis, start, stage, listener, check=check, teacher=teacher, log=log)
    planned = choose_plan(last.recipe, last.analysis, last.start, listener, folder=last.folder)
    slimmed = slim_and_prove(last.analysis, last.start.inherited, planned.plan)
    check(slimmed.module)
    slimmed, accuracies = settle_last(last, initialise_slim(recipe, work.model, slimmed), listener)
    slimmed = with_whole_plan(last, recipe, work.model, slimmed)
    report = replace(_describe(recipe, analysis, slimmed, planned), accuracies=accuracies, early_bird=start.early_bird)
    return PrunedNetwork(report, slimmed, start, last.recipe, teacher, last, earlier=earlier_epochs(recipe, start))


def _workload(recipe: ResolvedRecipe, own: nn.Module | None, given: Given, device: str) -> Workload:
    if own is None:
        return named_workload(recipe, device)
    work = own_workload(own, given, device, recipe.seed)
    classes = 1 if work.origin.inputs is None else work.origin.inputs.classes
    weights = class_weights_of(recipe, work.task, partial(count_targets, work.train_batches, work.task, classes))
    work = replace(work, class_weights=weights, further=further_metrics(recipe, work.task))
    return with_own_preprocessing(recipe, work)


def announce(notes: Sequence[str], listener: Listener) -> None:
    """Pass notes on options to a listener."""
    for note in notes:
        listener(REMARK, 1, 1, note)


def checked_recipe(
    model: object, given: Given, settings: Mapping[str, object]
) -> tuple[ResolvedRecipe, nn.Module | None, tuple[str, ...]]:
    """Return the checked recipe with its defaults, the model if it is an object, and notes on options and choices."""
    own = None if model is None or isinstance(model, str) else cast(nn.Module, model)
    if own is not None:
        recipe = _own_recipe(settings)
    elif given.has_objects:
        raise UsageError(f"expected a model object beside batches or a loss, got {model!r}")
    else:
        recipe = make_recipe(settings if model is None else {**settings, "arch": model}).with_defaults()
    check_gradual(recipe)
    check_early_bird(recipe)
    check_names(recipe)
    check_task_names(recipe)
    check_timing(recipe)
    recipe = with_criterion(recipe)
    check_rounds(recipe)
    check_processes(recipe)
    notes = without_effect(settings.keys(), recipe)
    recipe, choice = with_precision(recipe)
    return recipe, own, (*notes, *([choice] if choice else []))


def _own_recipe(settings: Mapping[str, object]) -> ResolvedRecipe:
    of_names = {
        "arch": None, "data": OWN_BATCHES, "image_size": None, "batch_size": None, "score_batch": None,
        "score_balanced": False,
        "weights": None, "pretrained": False, "reset_head": False, "train_size": None, "validation": None,
        "resized_crop": None,
    }  # fmt: skip
    for name in of_names:
        if name in settings:
            raise UsageError(f"expected no {name} beside a model object and its batches, got {settings[name]!r}")
    recipe = make_recipe({**settings, **of_names}).with_defaults()
    return recipe.model_copy(update=of_names)


def _analyse(recipe: ResolvedRecipe, work: Workload, planned: PlannedPruning | None, listener: Listener) -> Analysis:
    """Return channel groups and costs after checking that the budget can be met.

    If an interrupted run has `planned` already, its groups are proven and its budget is checked and timed.
    """
    if planned is not None:
        return Analysis(work, planned.plan.groups, CostModel.of(work.model, planned.plan.groups, work.example))
    analysis = with_latency_model(recipe, analyse(recipe, work, listener), listener)
    check_budget(recipe, analysis, listener)
    return analysis


def _train_dense(
    recipe: ResolvedRecipe, work: Workload, start: Start, store: Path, listener: Listener, log: Path | None
) -> tuple[nn.Module | None, TrainResult | None]:
    """Return the trained dense network and its training if slimming started from it or the recipe requests it."""
    if start.dense_training is not None or recipe.when == "trained":
        return start.scored, start.dense_training
    if not recipe.train_dense:
        return None, None
    return work.model, run_training(dense_settings(recipe, work), work, work.model, store, listener, log=log)


def _publish(document: ReportDocument, outputs: Outputs) -> None:
    outputs.staged(outputs.report).write_text(json.dumps(document, indent=1) + "\n")
    outputs.staged(outputs.markdown).write_text(markdown(document))
    outputs.staged(outputs.page).write_text(report_html(document, outputs.stage))
    outputs.publish_instead()


def _describe(recipe: ResolvedRecipe, analysis: Analysis, slimmed: SlimModel, planned: PlannedPruning) -> Report:
    """Return the report on the slim model before its training."""
    work, plan = analysis.work, slimmed.plan
    return Report(
        recipe=recipe,
        environment=environment_of(work),
        plan=plan,
        layers=tuple(name for name, _ in work.model.named_modules()),
        dense=measure_network(work.model, work.example, plan.dense.channels),
        slim=measure_network(slimmed.module, work.example, plan.slim.channels),
        proof=slimmed.proof,
        fvcore=second_opinion(analysis, slimmed.module),
        saliency=planned.saliency,
        search=planned.search,
        sharing=planned.sharing,
        without_weights=work.without_weights,
        frozen=tuple(name for name, tensor in slimmed.module.named_parameters() if not tensor.requires_grad),
        judged=work.judged,
    )
