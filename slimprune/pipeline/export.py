"""The commands `export` and `verify`: writing ONNX files from bundles, and comparing ONNX files with bundles."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError, VerificationError
from slimprune.export import (
    InputForm,
    OnnxCheck,
    OnnxFile,
    convert_onnx,
    export_onnx,
    export_program,
    read_metadata,
    verify_onnx,
    verify_program,
)
from slimprune.export.program import SUFFIX as PROGRAM
from slimprune.forward import name_of, without_adapter
from slimprune.graph import Example, first_rows
from slimprune.measure import versions
from slimprune.models import two_stages
from slimprune.pipeline.opened import Model, OpenedBundle, open_bundle
from slimprune.pipeline.precision import add_lower_precisions, check_conversion, training_images
from slimprune.pipeline.preprocessing import input_form
from slimprune.pipeline.staging import BUNDLE, ONNX, Outputs, staged_outputs
from slimprune.pipeline.workload import Workload
from slimprune.results import Report
from slimprune.surgery import Bundle, SlimModel, read, save
from slimprune.types import InputKind, Listener, Precision

CALIBRATION_BATCH = 64


def export(
    bundle: Path,
    out: Path,
    *,
    data: str | None = None,
    model: Model | None = None,
    input: InputKind | None = None,  # noqa: A002 the name of the option
    precision: Precision = "fp32",
    trust_code: bool = False,
) -> OnnxCheck:
    """Write the model of a bundle as ONNX or as a program of torch.export, and verify it.

    It is verified on test samples of the data set it was trained for.
    If the bundle names no data set, it is verified on noise. For int8 it is calibrated on training images of the data
    set.

    Args:
        bundle: Folder of the bundle.
        out: ONNX file to write, or a program of torch.export (`.pt2`).
        data: Data set to take samples from instead of the recipe's.
        model: Dense model, or the architecture that builds it, for bundles of models that were passed as objects.
        input: What the file takes, see `export_onnx`; by default what the recipe of the bundle says.
        precision: Numbers of the file, see `convert_onnx`.
        trust_code: Whether to run the code that the bundle names for building its dense model and loading its data.

    Raises:
        UsageError: If `out` is neither an ONNX file nor a program in fp32, there is no such bundle, it has no
            preprocessing for that input, or there is no data set for the calibration of int8.
    """
    if out.suffix not in (ONNX, PROGRAM):
        raise UsageError(f"expected --out to end in {ONNX} or {PROGRAM}, got {out}")
    if out.suffix == PROGRAM and precision != "fp32":
        raise UsageError(f"expected --out to end in {ONNX} for {precision}, got {out}")
    found = read(bundle)
    form = InputForm.of(found.preprocessing, input or found.recipe.get("input"))
    with staged_outputs(out, None, more=(PROGRAM,)) as outputs:
        opened = open_bundle(found, data=data, model=model, trust_code=trust_code)
        if precision == "int8" and opened.images is None:
            raise UsageError(f"expected --data with training images for int8 of {bundle}, which names none, got none")
        staged = outputs.staged(out)
        check_exportable(opened.module, out)
        if out.suffix == PROGRAM:
            export_program(opened.module, opened.samples, staged, form, _all_metadata(found, form))
            check = verify_program(opened.module, staged, opened.samples, form)
        else:
            _write(opened.module, opened.samples, staged, found, form)
            if precision != "fp32":
                convert_onnx(staged, staged, precision, images=_calibration(opened) if precision == "int8" else None)
            check = verify_onnx(opened.module, staged, opened.samples, preprocessing=found.preprocessing)
        outputs.publish()
    return replace(check, path=out, noise=opened.noise)


def _calibration(opened: OpenedBundle) -> Tensor | None:
    if opened.images is None:
        return None
    return training_images(opened.images.train_batches(CALIBRATION_BATCH, augment=False))


def verify(
    bundle: Path, onnx: Path, *, data: str | None = None, model: Model | None = None, trust_code: bool = False
) -> OnnxCheck:
    """Compare an ONNX file with the bundle it should come from, in onnxruntime on real samples; see `export`.

    Raises:
        UsageError: If there is no such bundle or file.
        VerificationError: If one of them is unreadable or altered, or they disagree.
    """
    if not onnx.is_file():
        raise UsageError(f"expected an ONNX file, got {onnx}")
    found = read(bundle)
    stated = read_metadata(onnx).get("weights_sha256", found.weights_sha256)
    if stated != found.weights_sha256:
        raise VerificationError(f"expected {onnx} to be made from the weights of {bundle}, got other weights")
    opened = open_bundle(found, data=data, model=model, trust_code=trust_code)
    check = verify_onnx(opened.module, onnx, opened.samples, preprocessing=found.preprocessing)
    return replace(check, noise=opened.noise)


def check_exportable(module: nn.Module, out: Path) -> None:
    """Check that a network computes by itself all that an exported file would have to give.

    Raises:
        UnsupportedModelError: If it is a detector of two stages and the file is more than a bundle.
    """
    plain = without_adapter(module)
    if out.suffix != BUNDLE and two_stages(plain):
        raise UnsupportedModelError(
            f"expected a detector of one stage for {out.suffix} files, got {name_of(plain)}, whose second stage "
            f"depends on what the first one finds: --out {out.with_suffix(BUNDLE).name} writes the bundle alone"
        )


def check_export(
    module: nn.Module, samples: Example, outputs: Outputs, form: InputForm, precisions: Sequence[Precision] = ()
) -> None:
    """Check that a model can be exported and converted, before any time is spent on its training.

    Raises:
        UnsupportedModelError: If an ONNX file is requested and the model cannot be exported, or not in one of the lower
            precisions.
    """
    if outputs.onnx is None:
        return
    file = outputs.stage / "untrained.onnx"
    export_onnx(module, first_rows(samples, 2), file, preprocessing=form.preprocessing, input=form.kind)
    if isinstance(samples, Tensor):
        check_conversion(file, precisions, samples[:2])
    file.unlink()


def export_trained(report: Report, work: Workload, slimmed: SlimModel, outputs: Outputs, listener: Listener) -> Report:
    """Stage the bundle and, if requested, the ONNX file of a trained model; return the report with its verification.

    Args:
        report: Report of the run, whose results are recorded in the bundle.
        work: Workload with the samples for the verification and the origin of the dense model.
        slimmed: Trained model; it is moved to the CPU.
        outputs: Outputs of the run, whose stage already contains the log of the training.
        listener: Called before and after the verification.
    """
    listener("export", 0, 2, "")
    folder = outputs.staged(outputs.bundle)
    folder.mkdir(exist_ok=True)
    shutil.copy(outputs.stage / "train" / "metrics.jsonl", folder)
    document = report.to_json()
    results = {
        "params": document["params"],
        "macs": document["macs"],
        "channels": document["channels"],
        "budget": document["budget"],
        "training": document["training"],
        "metric": document.get("metric"),
    }
    module = slimmed.module.cpu()
    bundle = save(
        module,
        slimmed.plan,
        folder,
        origin=work.origin,
        recipe=document["recipe"],
        results=results,
        preprocessing=work.preprocessing,
    )
    if outputs.onnx is None:
        listener("export", 2, 2, "")
        return report
    staged = outputs.staged(outputs.onnx)
    form = input_form(report.recipe, work)
    file = _write(module, work.samples, staged, bundle, form)
    listener("export", 1, 2, "verify")
    check = verify_onnx(module, staged, work.samples, preprocessing=work.preprocessing)
    listener("export", 2, 2, "verify")
    report = replace(report, onnx=replace(check, path=outputs.onnx), onnx_bytes=file.bytes)
    return add_lower_precisions(report, work, module, outputs, form, listener)


def _write(module: nn.Module, samples: Example, path: Path, bundle: Bundle, form: InputForm) -> OnnxFile:
    metadata = _all_metadata(bundle, form)
    return export_onnx(
        module, first_rows(samples, 2), path, metadata=metadata, preprocessing=form.preprocessing, input=form.kind
    )


def _all_metadata(bundle: Bundle, form: InputForm) -> dict[str, str]:
    """Return the metadata of a file: what it takes and where it comes from."""
    return {"input": str(form.kind), **_metadata(bundle)}


def _judged(bundle: Bundle, trained: Mapping[str, object]) -> dict[str, object]:
    """Return the task and the metric of a bundle, which those of earlier versions do not state."""
    stated = bundle.results.get("metric")
    if not isinstance(stated, Mapping):
        return {}
    return {"task": stated.get("task"), "output": stated.get("reads"), str(stated.get("name")): trained.get("final")}


def _metadata(bundle: Bundle) -> dict[str, str]:
    """Return what an ONNX file records about its origin, as far as the bundle knows it."""
    recipe, training = bundle.recipe, bundle.results.get("training")
    trained = training if isinstance(training, Mapping) else bundle.results
    stated = {
        "recipe_hash": recipe.get("hash"),
        "arch": bundle.origin.arch or "model object",
        "data": recipe.get("data"),
        "ratio": bundle.plan.budget.ratio,
        "of": bundle.plan.budget.of,
        "params": bundle.plan.slim.params,
        "macs": bundle.plan.slim.macs,
        "weights_sha256": bundle.weights_sha256,
        "version": versions()["slimprune"],
        **{key: trained.get(key) for key in ("top1", "miou")},
        **_judged(bundle, trained),
    }
    return {key: str(value) for key, value in stated.items() if value is not None}
