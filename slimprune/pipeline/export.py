"""Bundles to ONNX files, and ONNX files held against bundles."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from slimprune.data import is_user_code, load
from slimprune.errors import UsageError, VerificationError
from slimprune.export import OnnxCheck, export_onnx, read_metadata, verify_onnx
from slimprune.measure import versions
from slimprune.pipeline.staging import staged_outputs
from slimprune.pipeline.workload import SAMPLES
from slimprune.surgery import Bundle, read, restore


def export(bundle: Path, out: Path, *, data: str | None = None, trust_code: bool = False) -> OnnxCheck:
    """Writes the model of a bundle as ONNX and verifies it on the data it was trained for.

    Args:
        bundle: the folder.
        out: the ONNX file to write.
        data: the data set to take samples from, in place of the recipe's.
        trust_code: allow the bundle to name the code that builds its dense model and loads its data.
    """
    found = read(bundle)
    with staged_outputs(out, None) as outputs:
        model = restore(found, trust_code=trust_code)
        samples, staged = _samples(found, data, trust_code), outputs.staged(out)
        export_onnx(model, samples[:2], staged, metadata=onnx_metadata(found))
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


def onnx_metadata(bundle: Bundle) -> dict[str, str]:
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


def _samples(bundle: Bundle, data: str | None, trust_code: bool) -> Tensor:
    """Test images from the data that was asked for, or else from the bundle's.

    Raises:
        UsageError: the bundle's data is loaded by code that needs `trust_code`.
    """
    named: str = data or bundle.recipe["data"]
    if data is None and is_user_code(named) and not trust_code:
        raise UsageError(f"bundle {bundle.folder} loads its data by the code {named}: allow it with --trust-code")
    return load(named, image_size=bundle.recipe["image_size"]).samples(SAMPLES)
