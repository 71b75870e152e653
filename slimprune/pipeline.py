"""The stories that the command line tells: compress, plan, export, verify; each calls the rooms in order."""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from slimprune.budget import RULES, Budget, Cost, CostModel, Plan, allocate, find_rule
from slimprune.data import Batch, data_sets, load
from slimprune.errors import UsageError, VerificationError
from slimprune.export import OnnxCheck, export_onnx, read_metadata, verify_onnx
from slimprune.graph import ChannelGroup, find_groups
from slimprune.measure import PeakMemory, count_macs, count_params, weight_bytes
from slimprune.models import architectures
from slimprune.outputs import Outputs, staged_outputs
from slimprune.recipe import Recipe, make_recipe
from slimprune.report import Measured, Report, Saliency, markdown
from slimprune.saliency import Scores, criteria, make_criterion, score
from slimprune.surgery import Bundle, SlimModel, prove, read, restore, save, slim, versions
from slimprune.training import EpochRecord, Progress, TrainResult, TrainSettings, find_device, train
from slimprune.workload import SAMPLES, Loss, Task, Workload, named_workload, own_workload

Listener = Callable[[str, int, int, str], None]
"""Called with (stage, done, in all, note) while a run goes on."""


def _ignore(stage: str, done: int, total: int, note: str) -> None:
    """A listener that does nothing."""


def compress(
    model: nn.Module | str | None = None,
    *,
    train_batches: Iterable[Batch] | None = None,
    test_batches: Iterable[Batch] | None = None,
    task: Task = "classification",
    loss: Loss | None = None,
    listener: Listener = _ignore,
    **settings: Any,
) -> Report:
    """Scores, slims, proves, trains, exports and verifies; leaves the ONNX file, a bundle and a report.

    Args:
        model: an architecture name, or a module; a module is left untouched and needs both kinds of batches.
        train_batches: re-iterable (inputs [N, ...], targets) batches, such as a `DataLoader`.
        test_batches: the same, for testing and for verifying the export (at least 32 samples are sensible).
        task: `classification` (cross-entropy, top-1) or `segmentation` (binary cross-entropy, mean IoU).
        loss: (output, targets) -> scalar, in place of the task's.
        listener: called while the run goes on.
        **settings: fields of `Recipe`; `out` is required.

    Returns:
        The report; the slim module is loaded with `slimprune.load`.

    Raises:
        SlimpruneError: one of its children, see `slimprune.errors`.
    """
    started = time.perf_counter()
    own = model if isinstance(model, nn.Module) else None
    recipe = make_recipe(settings if model is None or own is not None else {**settings, "arch": model}).with_defaults()
    if recipe.out is None:
        raise UsageError("expected an ONNX file to write (--out), got none")
    with staged_outputs(recipe.out, recipe.hash if own is None else f"own-{os.getpid()}") as outputs:
        work = _workload(recipe, own, train_batches, test_batches, task, loss)
        plan, saliency = _planned(recipe, work, outputs.stage / "plan.json", listener)
        slimmed = slim(work.model, plan)
        slimmed = slimmed.proven(prove(work.model, slimmed, work.example))
        report = _report(recipe, work, slimmed, saliency)
        report = replace(report, training=_trained(recipe, work, slimmed.module, outputs.stage / "train", listener))
        if recipe.train_dense:
            dense = _trained(recipe, work, work.model, outputs.stage / "train dense", listener)
            report = replace(report, dense_training=dense)
        report = _delivered(report, work, slimmed, outputs, listener)
        report = replace(report, seconds=time.perf_counter() - started)
        document = report.to_json()
        outputs.staged(outputs.report).write_text(json.dumps(document, indent=1) + "\n")
        outputs.staged(outputs.markdown).write_text(markdown(document))
        outputs.publish()
    return report


def plan(*, listener: Listener = _ignore, **settings: Any) -> Report:
    """Scores and allocates only; nothing is trained or written. The settings are the fields of `Recipe`."""
    started = time.perf_counter()
    recipe = make_recipe(settings).with_defaults()
    work = _workload(recipe, None, None, None, "classification", None)
    chosen, saliency = _planned(recipe, work, None, listener)
    slimmed = slim(work.model, chosen)
    slimmed = slimmed.proven(prove(work.model, slimmed, work.example))
    return replace(_report(recipe, work, slimmed, saliency), seconds=time.perf_counter() - started)


def export(bundle: Path, out: Path, *, data: str | None = None, trust_code: bool = False) -> OnnxCheck:
    """Writes the model of a bundle as ONNX and verifies it on the data it was trained for.

    Args:
        bundle: the folder.
        out: the ONNX file to write.
        data: the data set to take samples from, in place of the recipe's.
        trust_code: allow the bundle to name the code that builds its dense model.
    """
    found = read(bundle)
    model = restore(found, trust_code=trust_code)
    samples = _samples(found, data)
    if out.suffix != ".onnx":
        raise UsageError(f"expected --out to end in .onnx, got {out}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = out.with_name(f".{out.name}.part")
        export_onnx(model, samples[:2], staged, metadata=_metadata(found))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    try:
        check = verify_onnx(model, staged, samples)
        os.replace(staged, out)
    finally:
        staged.unlink(missing_ok=True)
    return replace(check, path=out)


def verify(bundle: Path, onnx: Path, *, data: str | None = None, trust_code: bool = False) -> OnnxCheck:
    """Compares an ONNX file with the bundle it should have come from, in onnxruntime, on real samples.

    Raises:
        VerificationError: one of them is unreadable or altered, or they disagree.
    """
    found = read(bundle)
    model = restore(found, trust_code=trust_code)
    if not onnx.is_file():
        raise VerificationError(f"expected an ONNX file, got {onnx}")
    check = verify_onnx(model, onnx, _samples(found, data))
    stated = read_metadata(onnx).get("weights_sha256", found.weights_sha256)
    if stated != found.weights_sha256:
        raise VerificationError(f"{onnx} was made from other weights than {bundle} holds")
    return check


def available(kind: Literal["archs", "data", "criteria", "rules"]) -> list[tuple[str, str]]:
    """Names and descriptions of what can be chosen."""
    return {
        "archs": [(entry.name, entry.description) for entry in architectures()],
        "data": data_sets(),
        "criteria": [(entry.name, entry.description) for entry in criteria()],
        "rules": [(rule.name, rule.description) for rule in RULES.values()],
    }[kind]


def _workload(
    recipe: Recipe,
    own: nn.Module | None,
    train_batches: Iterable[Batch] | None,
    test_batches: Iterable[Batch] | None,
    task: Task,
    loss: Loss | None,
) -> Workload:
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    device = str(find_device(automatic if recipe.device == "auto" else recipe.device))
    if own is None:
        return named_workload(recipe, device)
    if train_batches is None or test_batches is None:
        raise UsageError("expected train_batches and test_batches beside a model object, got none")
    return own_workload(own, train_batches, test_batches, task, loss, device)


def _planned(recipe: Recipe, work: Workload, store: Path | None, listener: Listener) -> tuple[Plan, Saliency | None]:
    """The plan, taken from `store` where an interrupted run left it there."""
    if store is not None and store.exists():
        stored = json.loads(store.read_text())
        saliency = Saliency(**stored["saliency"]) if stored["saliency"] else None
        return Plan.from_json(json.dumps(stored["plan"])), saliency
    budget = Budget(recipe.ratio, recipe.of)
    groups = find_groups(
        work.model,
        work.example,
        protect=recipe.protect,
        progress=lambda done, total: listener("prove", done, total, ""),
    )
    costs = CostModel.of(work.model, groups, work.example)
    rule = cast(str, recipe.rule)

    def share_out(scores: Scores | None, rule: str) -> Plan:
        return allocate(scores, groups, budget, costs, rule=rule, floor=recipe.floor, round_to=recipe.round_to)

    chosen, saliency = share_out(None, "uniform"), None  # before scoring: an impossible budget is refused at once
    if find_rule(rule).needs_scores:
        scores, saliency = _scored(recipe, work, groups, listener)
        chosen = share_out(scores, rule)
    elif rule != chosen.rule:
        chosen = share_out(None, rule)
    if store is not None:
        stored = {"plan": json.loads(chosen.to_json()), "saliency": asdict(saliency) if saliency else None}
        store.write_text(json.dumps(stored))
    return chosen, saliency


def _scored(
    recipe: Recipe, work: Workload, groups: Sequence[ChannelGroup], listener: Listener
) -> tuple[Scores, Saliency]:
    started = time.perf_counter()
    with PeakMemory(work.example.device) as memory:
        scores = score(
            work.model,
            groups,
            work.scoring_batches,
            work.loss,
            criterion=make_criterion(recipe.criterion, **recipe.criterion_options()),
            gate=recipe.gate,
            draws=cast(int, recipe.draws),
            dtype=getattr(torch, recipe.dtype),
            seed=recipe.seed,
            progress=lambda done, total: listener("score", done, total, recipe.criterion),
        )
    seconds = time.perf_counter() - started
    return scores, Saliency(recipe.criterion, scores.steps, scores.draws, scores.stability, seconds, memory.peak_bytes)


def _trained(recipe: Recipe, work: Workload, module: nn.Module, store: Path, listener: Listener) -> TrainResult:
    settings = TrainSettings(
        epochs=cast(int, recipe.epochs),
        lr=cast(float, recipe.lr),
        weight_decay=recipe.weight_decay,
        schedule=recipe.schedule or "step",
        amp=recipe.amp,
        device=str(work.example.device),
        seed=recipe.seed,
    )
    note = ""

    def on_step(epoch: int, step: int, steps: int) -> None:
        listener(store.name, (epoch - 1) * steps + step, settings.epochs * steps, f"epoch {epoch}{note}")

    def on_epoch(record: EpochRecord) -> None:
        nonlocal note
        note = f", {work.metric.name} {record.test_metric:.2%}"

    return train(
        module,
        work.train_batches,
        work.test_batches,
        settings,
        loss=work.loss,
        metric=work.metric,
        progress=Progress(on_step, on_epoch),
        checkpoint=store,
    )


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
    file = export_onnx(module, work.samples[:2], staged, metadata=_metadata(bundle))
    listener("export", 1, 2, "verify")
    check = verify_onnx(module, staged, work.samples)
    listener("export", 2, 2, "verify")
    return replace(report, onnx=replace(check, path=outputs.onnx), onnx_bytes=file.bytes)


def _metadata(bundle: Bundle) -> dict[str, str]:
    """What an ONNX file says of its origin."""
    results, recipe = bundle.results, bundle.recipe
    accuracy = {key: results["training"][key] for key in ("top1", "miou") if key in (results["training"] or {})}
    stated = {
        "recipe_hash": recipe["hash"],
        "arch": recipe["arch"] or "model object",
        "data": recipe["data"],
        "ratio": recipe["ratio"],
        "of": recipe["of"],
        "params": results["params"]["slim"],
        "macs": results["macs"]["slim"],
        "weights_sha256": bundle.weights_sha256,
        "version": versions()["slimprune"],
        **accuracy,
    }
    return {key: str(value) for key, value in stated.items()}


def _samples(bundle: Bundle, data: str | None) -> Tensor:
    return load(data or bundle.recipe["data"], image_size=bundle.recipe["image_size"]).samples(SAMPLES)


def _report(recipe: Recipe, work: Workload, slimmed: SlimModel, saliency: Saliency | None) -> Report:
    if slimmed.proof is None:
        raise VerificationError("expected a proven slim model, got one without a proof")
    chosen = slimmed.plan
    return Report(
        recipe=recipe,
        environment=_environment(work.example.device),
        plan=chosen,
        dense=_measured(work.model, work.example, chosen.dense.channels),
        slim=_measured(slimmed.module, work.example, chosen.slim.channels),
        proof=slimmed.proof,
        saliency=saliency,
    )


def _measured(module: nn.Module, example: Tensor, channels: int) -> Measured:
    return Measured(Cost(count_params(module), count_macs(module, example), channels), weight_bytes(module))


def _environment(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": f"{device.type} ({name})", "threads": torch.get_num_threads(), **versions()}
