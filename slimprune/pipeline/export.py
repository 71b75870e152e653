"""Trained models and bundles to ONNX files, and ONNX files held against bundles."""

import shutil
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from slimprune.data import is_user_code, load
from slimprune.errors import UsageError, VerificationError
from slimprune.export import OnnxCheck, export_onnx, read_metadata, verify_onnx
from slimprune.measure import versions
from slimprune.pipeline.staging import ONNX, Outputs, staged_outputs
from slimprune.pipeline.workload import SAMPLES, Workload
from slimprune.results import Report
from slimprune.surgery import Bundle, SlimModel, read, restore, save
from slimprune.types import Listener


def export(bundle: Path, out: Path, *, data: str | None = None, trust_code: bool = False) -> OnnxCheck:
    """Writes the model of a bundle as ONNX and verifies it on the data it was trained for.

    Args:
        bundle: the folder.
        out: the ONNX file to write.
        data: the data set to take samples from, in place of the recipe's.
        trust_code: allow the bundle to name the code that builds its dense model and loads its data.

    Raises:
        UsageError: `out` is no ONNX file, or there is no such bundle.
    """
    if out.suffix != ONNX:
        raise UsageError(f"expected --out to end in {ONNX}, got {out}")
    found = read(bundle)
    with staged_outputs(out, None) as outputs:
        model = restore(found, trust_code=trust_code)
        samples, staged = _samples(found, data, trust_code), outputs.staged(out)
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
    return verify_onnx(restore(found, trust_code=trust_code), onnx, _samples(found, data, trust_code))


def check_export(module: nn.Module, samples: Tensor, outputs: Outputs) -> None:
    """Refuse a model that cannot be exported, before any time is spent on its training.

    Raises:
        UnsupportedModelError: If an ONNX file is requested and the model cannot be exported.
    """
    if outputs.onnx is None:
        return
    export_onnx(module, samples[:2], outputs.stage / "untrained.onnx").path.unlink()


def export_trained(report: Report, work: Workload, slimmed: SlimModel, outputs: Outputs, listener: Listener) -> Report:
    """Stage the bundle and, where requested, the ONNX file of a trained model.

    The report that is returned has what the verification of the ONNX file found.

    Args:
        report: of the run; the bundle states its results.
        work: the samples to verify on, and how the dense model was built.
        slimmed: the trained model; it is moved to the CPU.
        outputs: where everything is made; the log of the training lies there already.
        listener: called before and after the verification.
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
    }
    module = slimmed.module.cpu()
    bundle = save(module, slimmed.plan, folder, origin=work.origin, recipe=document["recipe"], results=results)
    if outputs.onnx is None:
        listener("export", 2, 2, "")
        return report
    staged = outputs.staged(outputs.onnx)
    file = export_onnx(module, work.samples[:2], staged, metadata=_metadata(bundle))
    listener("export", 1, 2, "verify")
    check = verify_onnx(module, staged, work.samples)
    listener("export", 2, 2, "verify")
    return replace(report, onnx=replace(check, path=outputs.onnx), onnx_bytes=file.bytes)


def _metadata(bundle: Bundle) -> dict[str, str]:
    """What an ONNX file says of its origin, as far as the bundle knows it."""
    recipe, trained = bundle.recipe, bundle.results.get("training") or {}
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
    }
    return {key: str(value) for key, value in stated.items() if value is not None}


def _samples(bundle: Bundle, data: str | None, trust_code: bool) -> Tensor:
    """Test images from the data that was asked for, or else from the bundle's.

    Raises:
        UsageError: the bundle names no data, or its data is loaded by code that needs `trust_code`.
    """
    named: str | None = data or bundle.recipe.get("data")
    if named is None:
        raise UsageError(f"expected --data for bundle {bundle.folder}, whose recipe names no data set, got none")
    if data is None and is_user_code(named) and not trust_code:
        raise UsageError(f"bundle {bundle.folder} loads its data by the code {named}: allow it with --trust-code")
    return load(named, image_size=bundle.recipe.get("image_size")).samples(SAMPLES)
