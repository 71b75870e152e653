"""The stories that the command line tells: compress, plan, export, verify; each calls the rooms in order."""

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from slimprune.budget import CostModel
from slimprune.data import Batch
from slimprune.errors import UsageError
from slimprune.export import export_onnx, verify_onnx
from slimprune.graph import Proof
from slimprune.measure import environment
from slimprune.pipeline.export import onnx_metadata
from slimprune.pipeline.latency import check_timing, with_latency_model
from slimprune.pipeline.pictures import draw_pictures
from slimprune.pipeline.plan import PlannedPruning, choose_plan, stored_pruning
from slimprune.pipeline.stages import (
    Analysis,
    Start,
    analyse,
    check_budget,
    check_names,
    dense_settings,
    initialise_slim,
    measure_network,
    run_training,
    second_opinion,
    slim_and_prove,
    starting_networks,
    training_settings,
)
from slimprune.pipeline.staging import Outputs, staged_outputs
from slimprune.pipeline.workload import Given, Workload, named_workload, own_workload
from slimprune.progress import Listener, ignore
from slimprune.recipe import Recipe, make_recipe
from slimprune.report import markdown, report_html
from slimprune.results import Report
from slimprune.surgery import SlimModel, save
from slimprune.training import AUTO, Loss, Task, choose_device


def compress(
    model: nn.Module | str | None = None,
    *,
    train_batches: Iterable[Batch] | None = None,
    test_batches: Iterable[Batch] | None = None,
    task: Task = "classification",
    loss: Loss | str = AUTO,
    listener: Listener = ignore,
    **settings: Any,
) -> Report:
    """Scores, slims, proves, trains, exports and verifies; leaves the ONNX file, a bundle and a report.

    Args:
        model: an architecture name, or a module; a module is left untouched and needs both kinds of batches:
        train_batches: re-iterable (inputs [N, ...], targets), such as a `DataLoader`.
        test_batches: the same, for testing and for verifying the export (at least 32 samples are sensible).
        task: of a module: `classification` (cross-entropy, top-1) or `segmentation` (binary cross-entropy, mean IoU).
        loss: its name as in `Recipe`, or for a module (output, targets) -> scalar.
        listener: called while the run goes on.
        **settings: fields of `Recipe`; `out` is required.

    Returns:
        The report; `slimprune.load` loads the slim module.

    Raises:
        SlimpruneError: one of its children, see `slimprune.errors`.
    """
    began = time.perf_counter()
    given = Given(train_batches, test_batches, task, loss)
    recipe, own = _recipe(model, given, {**settings, "loss": loss} if isinstance(loss, str) else settings)
    with staged_outputs(recipe.out, recipe.hash if own is None else None) as outputs:
        work = _workload(recipe, own, given)
        if own is None:
            outputs.resume_from(work.fingerprint)
        analysis = _analysed(recipe, work, outputs.stage, listener)
        start = starting_networks(recipe, work, outputs.stage / "train dense", listener)
        choice = choose_plan(recipe, analysis, start, listener, folder=outputs.stage)
        slimmed = slim_and_prove(analysis, start.inherited, choice.plan)
        report = replace(_reported(recipe, analysis, slimmed, choice), dense_training=start.dense_training)
        # A model that cannot be exported is refused before it is trained.
        export_onnx(slimmed.module, work.samples[:2], outputs.stage / "untrained.onnx").path.unlink()
        slimmed = initialise_slim(recipe, work.model, slimmed)
        result = run_training(training_settings(recipe, work), work, slimmed.module, outputs.stage / "train", listener)
        report = replace(report, training=result)
        if recipe.train_dense and start.dense_training is None:
            training = dense_settings(recipe, work)
            dense = run_training(training, work, work.model, outputs.stage / "train dense", listener)
            report = replace(report, dense_training=dense)
        dense_network = start.scored if start.dense_training else work.model if recipe.train_dense else None
        pictures = draw_pictures(work, slimmed.module, dense_network, outputs.staged(outputs.pictures))
        report = _delivered(replace(report, pictures=pictures), work, slimmed, outputs, listener)
        report = replace(report, seconds=time.perf_counter() - began)
        _publish(report.to_json(), outputs)
    return report


def plan(*, listener: Listener = ignore, **settings: Any) -> Report:
    """Scores and allocates only; nothing is trained or written. The settings are the fields of `Recipe`.

    Raises:
        UsageError: a recipe that scores the trained network.
    """
    began = time.perf_counter()
    recipe, _ = _recipe(None, Given(), settings)
    if recipe.when != "before-training":
        raise UsageError(f"expected when: before-training to plan without training, got {recipe.when}")
    work = _workload(recipe, None, Given())
    analysis = _analysed(recipe, work, None, listener)
    choice = choose_plan(recipe, analysis, Start(work.model, work.model), listener)
    report = _reported(recipe, analysis, slim_and_prove(analysis, work.model, choice.plan), choice)
    return replace(report, seconds=time.perf_counter() - began)


def _recipe(model: object, given: Given, settings: Mapping[str, Any]) -> tuple[Recipe, nn.Module | None]:
    """The recipe, its names checked and its defaults filled in, and the model where it is an object."""
    own = None if model is None or isinstance(model, str) else cast(nn.Module, model)
    if own is not None:
        recipe = _own_recipe(settings, given.task == "segmentation")
    elif any(part is not None for part in (given.train_batches, given.test_batches)) or callable(given.loss):
        raise UsageError(f"expected a model object beside batches or a loss, got {model!r}")
    else:
        recipe = make_recipe(settings if model is None else {**settings, "arch": model}).with_defaults()
    check_names(recipe)
    check_timing(recipe)
    return recipe, own


def _own_recipe(settings: Mapping[str, Any], segmentation: bool) -> Recipe:
    of_names = {
        "arch": None, "data": "own batches", "image_size": None, "batch_size": None, "score_batch": None,
        "weights": None, "train_size": None,
    }  # fmt: skip
    for name in of_names:
        if name in settings:
            raise UsageError(f"expected no {name} beside a model object and its batches, got {settings[name]!r}")
    recipe = make_recipe({**settings, **of_names}).with_defaults(segmentation=segmentation)
    return recipe.model_copy(update=of_names)


def _workload(recipe: Recipe, own: nn.Module | None, given: Given) -> Workload:
    device = str(choose_device(recipe.device))
    return named_workload(recipe, device) if own is None else own_workload(own, given, device, recipe.seed)


def _analysed(recipe: Recipe, work: Workload, stage: Path | None, listener: Listener) -> Analysis:
    """Channel groups and costs, for a budget that can be met.

    What an interrupted run left in `stage` with its plan is proven, checked and timed already.
    """
    found = None if stage is None else stored_pruning(stage)
    if found is None:
        analysis = with_latency_model(recipe, analyse(recipe, work, listener), listener)
        check_budget(recipe, analysis, listener)
        return analysis
    return Analysis(work, found.plan.groups, CostModel.of(work.model, found.plan.groups, work.example))


def _delivered(report: Report, work: Workload, slimmed: SlimModel, outputs: Outputs, listener: Listener) -> Report:
    """Bundle and ONNX file, staged; the report with what the verification found."""
    listener("export", 0, 2, "")
    folder = outputs.staged(outputs.bundle)
    folder.mkdir(exist_ok=True)
    shutil.copy(outputs.stage / "train" / "metrics.jsonl", folder)
    document = report.to_json()
    results = {key: document[key] for key in ("params", "macs", "channels", "budget", "training")}
    module = slimmed.module.cpu()
    bundle = save(module, slimmed.plan, folder, origin=work.origin, recipe=document["recipe"], results=results)
    staged = outputs.staged(outputs.onnx)
    file = export_onnx(module, work.samples[:2], staged, metadata=onnx_metadata(bundle))
    listener("export", 1, 2, "verify")
    check = verify_onnx(module, staged, work.samples)
    listener("export", 2, 2, "verify")
    return replace(report, onnx=replace(check, path=outputs.onnx), onnx_bytes=file.bytes)


def _publish(document: Mapping[str, Any], outputs: Outputs) -> None:
    outputs.staged(outputs.report).write_text(json.dumps(document, indent=1) + "\n")
    outputs.staged(outputs.markdown).write_text(markdown(document))
    outputs.staged(outputs.page).write_text(report_html(document, outputs.stage))
    outputs.publish()


def _reported(recipe: Recipe, analysis: Analysis, slimmed: SlimModel, choice: PlannedPruning) -> Report:
    """What the slim model is."""
    work, plan = analysis.work, choice.plan
    return Report(
        recipe=recipe,
        environment=environment(work.example.device),
        plan=plan,
        layers=tuple(name for name, _ in work.model.named_modules()),
        dense=measure_network(work.model, work.example, plan.dense.channels),
        slim=measure_network(slimmed.module, work.example, plan.slim.channels),
        proof=cast(Proof, slimmed.proof),
        fvcore=second_opinion(analysis, slimmed.module),
        saliency=choice.saliency,
        search=choice.search,
        without_weights=work.without_weights,
        frozen=tuple(name for name, tensor in slimmed.module.named_parameters() if not tensor.requires_grad),
    )
