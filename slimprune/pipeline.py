"""The stories that the command line tells: compress, plan, export, verify; each calls the rooms in order."""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from slimprune.budget import RULES, Budget, Cost, CostModel, Plan, allocate, find_rule
from slimprune.data import Batch, data_sets, load
from slimprune.errors import BudgetError, UnsupportedModelError, UsageError, VerificationError
from slimprune.export import OnnxCheck, export_onnx, read_metadata, verify_onnx
from slimprune.graph import ChannelGroup, find_groups, free_groups
from slimprune.measure import PeakMemory, count_macs, count_params, weight_bytes
from slimprune.models import architectures
from slimprune.outputs import Outputs, staged_outputs
from slimprune.recipe import Recipe, make_recipe
from slimprune.report import Measured, Report, Saliency, markdown
from slimprune.saliency import Scores, criteria, make_criterion, score
from slimprune.surgery import Bundle, SlimModel, prove, read, restore, save, slim, versions
from slimprune.training import EpochRecord, Progress, TrainResult, TrainSettings, find_device, train
from slimprune.workload import SAMPLES, Given, Loss, Task, Workload, named_workload, own_workload, seeded

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
        model: an architecture name, or a module; a module is left untouched and needs both kinds of batches:
        train_batches: re-iterable (inputs [N, ...], targets), such as a `DataLoader`.
        test_batches: the same, for testing and for verifying the export (at least 32 samples are sensible).
        task: of a module: `classification` (cross-entropy, top-1) or `segmentation` (binary cross-entropy, mean IoU).
        loss: (output, targets) -> scalar, in place of the task's; for a module only.
        listener: called while the run goes on.
        **settings: fields of `Recipe`; `out` is required.

    Returns:
        The report; `slimprune.load` loads the slim module.

    Raises:
        SlimpruneError: one of its children, see `slimprune.errors`.
    """
    started = time.perf_counter()
    given = Given(train_batches, test_batches, task, loss)
    recipe, own = _recipe(model, given, settings)
    with staged_outputs(recipe.out, recipe.hash if own is None else None) as outputs:
        work = _workload(recipe, own, given)
        outputs.resume_from(work.fingerprint)
        plan, saliency = _planned(recipe, work, outputs.stage / "plan.json", listener)
        report, slimmed = _proven(recipe, work, plan, saliency)
        # A model that cannot be exported is refused before it is trained.
        export_onnx(slimmed.module, work.samples[:2], outputs.stage / "untrained.onnx").path.unlink()
        report = replace(report, training=_trained(recipe, work, slimmed.module, outputs.stage / "train", listener))
        if recipe.train_dense:
            dense = _trained(recipe, work, work.model, outputs.stage / "train dense", listener)
            report = replace(report, dense_training=dense)
        report = _delivered(report, work, slimmed, outputs, listener)
        report = replace(report, seconds=time.perf_counter() - started)
        _publish(report.to_json(), outputs)
    return report


def plan(*, listener: Listener = _ignore, **settings: Any) -> Report:
    """Scores and allocates only; nothing is trained or written. The settings are the fields of `Recipe`."""
    started = time.perf_counter()
    recipe, _ = _recipe(None, Given(), settings)
    work = _workload(recipe, None, Given())
    report, _ = _proven(recipe, work, *_planned(recipe, work, None, listener))
    return replace(report, seconds=time.perf_counter() - started)


def export(bundle: Path, out: Path, *, data: str | None = None, trust_code: bool = False) -> OnnxCheck:
    """Writes the model of a bundle as ONNX and verifies it on the data it was trained for.

    Args:
        bundle: the folder.
        out: the ONNX file to write.
        data: the data set to take samples from, in place of the recipe's.
        trust_code: allow the bundle to name the code that builds its dense model.
    """
    found = read(bundle)
    with staged_outputs(out, None) as outputs:
        model = restore(found, trust_code=trust_code)
        samples, staged = _samples(found, data), outputs.staged(out)
        export_onnx(model, samples[:2], staged, metadata=_metadata(found))
        check = verify_onnx(model, staged, samples)
        outputs.publish()
    return replace(check, path=out)


def verify(bundle: Path, onnx: Path, *, data: str | None = None, trust_code: bool = False) -> OnnxCheck:
    """Compares an ONNX file with the bundle it should have come from, in onnxruntime, on real samples.

    Raises:
        UsageError: there is no such bundle or file.
        VerificationError: one of them is unreadable or altered, or they disagree.
    """
    if not onnx.is_file():
        raise UsageError(f"expected an ONNX file, got {onnx}")
    found = read(bundle)
    stated = read_metadata(onnx).get("weights_sha256", found.weights_sha256)
    if stated != found.weights_sha256:
        raise VerificationError(f"expected {onnx} to be made from the weights of {bundle}, got other weights")
    return verify_onnx(restore(found, trust_code=trust_code), onnx, _samples(found, data))


def available(kind: Literal["archs", "data", "criteria", "rules"]) -> list[tuple[str, str]]:
    """Names and descriptions of what can be chosen."""
    return {
        "archs": [(entry.name, entry.description) for entry in architectures()],
        "data": data_sets(),
        "criteria": [(entry.name, entry.description) for entry in criteria()],
        "rules": [(rule.name, rule.description) for rule in RULES.values()],
    }[kind]


def _recipe(model: object, given: Given, settings: Mapping[str, Any]) -> tuple[Recipe, nn.Module | None]:
    """The recipe, its names checked and its defaults filled in, and the model where it is an object."""
    own = None if model is None or isinstance(model, str) else cast(nn.Module, model)
    if own is not None:
        recipe = _own_recipe(settings)
    elif any(part is not None for part in (given.train_batches, given.test_batches, given.loss)):
        raise UsageError(f"expected a model object beside batches or a loss, got {model!r}")
    else:
        recipe = make_recipe(settings if model is None else {**settings, "arch": model}).with_defaults()
    find_rule(cast(str, recipe.rule))
    make_criterion(recipe.criterion, **recipe.criterion_options())
    return recipe, own


def _own_recipe(settings: Mapping[str, Any]) -> Recipe:
    of_names = {"arch": None, "data": "own batches", "image_size": None, "batch_size": None, "score_batch": None}
    for name in of_names:
        if name in settings:
            raise UsageError(f"expected no {name} beside a model object and its batches, got {settings[name]!r}")
    return make_recipe({**settings, **of_names}).with_defaults().model_copy(update=of_names)


def _workload(recipe: Recipe, own: nn.Module | None, given: Given) -> Workload:
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    device = str(find_device(automatic if recipe.device == "auto" else recipe.device))
    return named_workload(recipe, device) if own is None else own_workload(own, given, device, recipe.seed)


def _planned(recipe: Recipe, work: Workload, store: Path | None, listener: Listener) -> tuple[Plan, Saliency | None]:
    """The plan, taken from `store` where an interrupted run left it there."""
    if store is not None and store.exists():
        stored = json.loads(store.read_text())
        saliency = Saliency(**stored["saliency"]) if stored["saliency"] else None
        return Plan.from_json(json.dumps(stored["plan"])), saliency
    chosen, saliency = _chosen(recipe, work, listener)
    if store is not None:
        stored = {"plan": json.loads(chosen.to_json()), "saliency": asdict(saliency) if saliency else None}
        partial = store.with_suffix(".part")
        partial.write_text(json.dumps(stored))
        os.replace(partial, store)
    return chosen, saliency


def _chosen(recipe: Recipe, work: Workload, listener: Listener) -> tuple[Plan, Saliency | None]:
    budget = Budget(recipe.ratio, recipe.of)
    groups = find_groups(
        work.model,
        work.example,
        protect=recipe.protect,
        progress=lambda done, total: listener("prove", done, total, ""),
    )
    if not free_groups(groups):
        # Asked for, it is a budget that cannot be met; otherwise it is the model.
        refusal = BudgetError if recipe.protect else UnsupportedModelError
        whole = "; ".join(f"{group.id}: {group.protected_reason}" for group in groups)
        raise refusal(f"expected channels that may be removed, got none ({whole or 'no convolution or linear layer'})")
    costs = CostModel.of(work.model, groups, work.example)
    if recipe.of == "macs":
        _check_macs(costs.dense.macs, count_macs(work.model, work.example))
    rule = cast(str, recipe.rule)

    def share_out(scores: Scores | None, rule: str) -> Plan:
        return allocate(scores, groups, budget, costs, rule=rule, floor=recipe.floor, round_to=recipe.round_to)

    uniform = share_out(None, "uniform")  # before scoring: an impossible budget is refused at once
    if not find_rule(rule).needs_scores:
        return (uniform if rule == uniform.rule else share_out(None, rule)), None
    scores, saliency = _scored(recipe, work, groups, listener)
    return share_out(scores, rule), saliency


def _check_macs(predicted: int, counted: int) -> None:
    if abs(predicted - counted) > 0.001 * counted:
        raise UnsupportedModelError(
            f"expected MACs that can be predicted, got {predicted:,} where fvcore counts {counted:,}: "
            "--of params has no such trouble"
        )


def _scored(
    recipe: Recipe, work: Workload, groups: Sequence[ChannelGroup], listener: Listener
) -> tuple[Scores, Saliency]:
    started = time.perf_counter()
    with PeakMemory(work.example.device) as memory, seeded(recipe.seed):
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
    note, per_epoch = "", 1

    def on_step(epoch: int, step: int, steps: int) -> None:
        nonlocal per_epoch
        per_epoch = steps
        if step < steps:
            listener(store.name, (epoch - 1) * steps + step, settings.epochs * steps, f"epoch {epoch}{note}")

    def on_epoch(record: EpochRecord) -> None:
        nonlocal note
        note = f", {work.metric.name} {100 * record.test_metric:.2f} %"
        done, total = record.epoch * per_epoch, settings.epochs * per_epoch
        listener(store.name, done, total, f"epoch {record.epoch}{note}")

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


def _publish(document: Mapping[str, Any], outputs: Outputs) -> None:
    outputs.staged(outputs.report).write_text(json.dumps(document, indent=1) + "\n")
    outputs.staged(outputs.markdown).write_text(markdown(document))
    outputs.publish()


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


def _proven(recipe: Recipe, work: Workload, chosen: Plan, saliency: Saliency | None) -> tuple[Report, SlimModel]:
    """The slim model, proven, and the report of what it is."""
    slimmed = slim(work.model, chosen)
    proof = prove(work.model, slimmed, work.example)
    slimmed = slimmed.proven(proof)
    report = Report(
        recipe=recipe,
        environment=_environment(work.example.device),
        plan=chosen,
        layers=tuple(name for name, _ in work.model.named_modules()),
        dense=_measured(work.model, work.example, chosen.dense.channels),
        slim=_measured(slimmed.module, work.example, chosen.slim.channels),
        proof=proof,
        saliency=saliency,
    )
    return report, slimmed


def _measured(module: nn.Module, example: Tensor, channels: int) -> Measured:
    return Measured(Cost(count_params(module), count_macs(module, example), channels), weight_bytes(module))


def _environment(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": f"{device.type} ({name})", "threads": torch.get_num_threads(), **versions()}
