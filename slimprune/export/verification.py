"""Verification of an ONNX file against the torch model that it was exported from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from slimprune.errors import DataError, UsageError, VerificationError
from slimprune.export.exporter import cpu_copy, opset_version, signature_of
from slimprune.export.full_precision import without_autocast
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import metadata_of, precision_of, read_onnx
from slimprune.export.runtime import open_session, outputs_of
from slimprune.export.several import compare_several
from slimprune.export.sizes import Size, other_sizes, resized, size_step
from slimprune.forward import ForwardFn, bind_forward
from slimprune.preprocessing import Preprocessing, from_metadata
from slimprune.types import Precision

_INPUTS = ("tensor(float)", "tensor(uint8)")
_OUTPUTS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_RESIZED_SAMPLES = 4
_RESIZED_BATCHES = (1, 3)


@dataclass(frozen=True)
class OnnxCheck:
    """A passed verification.

    Attributes:
        path: Path of the file.
        opset: Version of the ONNX operator set; 0 for a program of torch.export.
        max_abs_diff: Largest absolute difference of any output entry, over all samples, batch sizes and image sizes.
        top1_agreement: Fraction of equal predictions, in [0, 1]. See `verify_onnx`.
        samples: Number of inputs compared at every batch size.
        batches: Batch sizes.
        size_step: Step of which image height and width may be multiples; None if the file fixes them.
        sizes: Further heights and widths, in pixels, that were compared.
        noise: Whether the inputs were random numbers, not real samples.
        precision: Numbers of the file.
    """

    path: Path
    opset: int
    max_abs_diff: float
    top1_agreement: float
    samples: int
    batches: tuple[int, ...]
    size_step: int | None = None
    sizes: tuple[Size, ...] = ()
    noise: bool = False
    precision: Precision = "fp32"


@without_autocast()
def verify_onnx(
    model: nn.Module,
    path: str | Path,
    samples: Any,
    *,
    batches: Sequence[int] = (1, 2, 5),
    tolerance: float = 1e-4,
    forward_fn: ForwardFn | None = None,
    preprocessing: Preprocessing | None = None,
) -> OnnxCheck:
    """Check that a file is valid ONNX and gives the model's outputs in onnxruntime on the CPU.

    If the file has a digest, it is checked too. All samples are run once at every batch size, including a smaller last
    batch, and compared with the torch model in eval mode and float32. For outputs [N, K, ...] with K > 1, a prediction
    is the argmax over K at every position of the remaining dimensions; for other outputs it is the sign of every entry.
    Predictions that differ count as equal if they are a tie: if torch's two logits, or its logit and 0, differ by less
    than the allowed difference.

    If the file leaves height and width free, a few of the samples are also compared at three further sizes. If it
    normalises its inputs itself, as its metadata say, it is given the pixels from which the samples were made.

    A file of lower precision (`convert_onnx`) cannot give the same outputs. How far they differ, and which share of the
    predictions is equal, is returned and no error.

    Args:
        model: Reference model; it is left unchanged.
        path: Path of the ONNX file.
        samples: Inputs [N, ...] of the model, normalised, N >= 1; or nested ones, as in `export_onnx`.
        batches: Batch sizes, each at least 1.
        tolerance: Largest allowed difference, relative to the largest absolute output of torch if that is above 1.
        forward_fn: Function (model, inputs) -> output. See `export_onnx`.
        preprocessing: With which the samples were made; by default, what the metadata of the file say.

    Raises:
        VerificationError: If the file is unreadable, altered or not valid ONNX, has other inputs, outputs or mean and
            std than the model, or, with 32-bit floats, differs by more than the tolerance or in a prediction; or if the
            model's own outputs contain nan or inf.
        DataError: If there are no samples.
        UsageError: If a batch size or the tolerance is not positive.
    """
    path = Path(path)
    if not isinstance(samples, Tensor):
        return _verify_several(model, path, samples, batches, tolerance, forward_fn)
    check_arguments(samples, batches, tolerance)
    proto, data = read_onnx(path)
    form = _form(proto, path, preprocessing)
    session = open_session(data, path)
    _check_signature(session, samples)
    form.check(samples)
    plain = cpu_copy(bind_forward(model, samples, forward_fn)[0])
    samples = samples.detach().to("cpu", torch.float32).contiguous()
    step = size_step(plain, samples[:1]) if _leaves_size_free(session) else None
    sizes = () if step is None else other_sizes(samples, step)
    pair = Pair(partial(outputs_of, session), plain, form, tolerance)
    found = [pair.compared(samples, batches)]
    found += [pair.compared(resized(samples[:_RESIZED_SAMPLES], size), _RESIZED_BATCHES) for size in sizes]
    precision = precision_of(metadata_of(proto))
    if precision == "fp32":
        judged(found, path)
    difference, agreement = max(one for one, _, _ in found), min(one for _, one, _ in found)
    check = OnnxCheck(path, opset_version(proto), difference, agreement, len(samples), tuple(batches), step, sizes)
    return replace(check, precision=precision)


def _verify_several(
    model: nn.Module,
    path: Path,
    samples: Any,
    batches: Sequence[int],
    tolerance: float,
    forward_fn: ForwardFn | None,
) -> OnnxCheck:
    signature = signature_of(model, samples, forward_fn)
    check_arguments(signature.samples[0], batches, tolerance)
    proto, data = read_onnx(path)
    found = compare_several(open_session(data, path), signature, batches, tolerance, _agrees)
    precision = precision_of(metadata_of(proto))
    if precision == "fp32":
        judged(found, path)
    difference, agreement = max(one for one, _, _ in found), min(one for _, one, _ in found)
    check = OnnxCheck(path, opset_version(proto), difference, agreement, len(signature.samples[0]), tuple(batches))
    return replace(check, precision=precision)


@dataclass(frozen=True, eq=False)
class Pair:
    """A file and the model that it is compared with.

    Attributes:
        run: Function of batches of the file's inputs, and the expected outputs, that returns the file's outputs.
        model: Model on the CPU, in eval mode.
        form: What the file takes in place of the model's inputs.
        tolerance: Largest allowed difference, relative to the largest absolute output if that is above 1.
    """

    run: Callable[[Sequence[Tensor], Tensor], Tensor]
    model: nn.Module
    form: InputForm
    tolerance: float

    def compared(self, samples: Tensor, batches: Sequence[int]) -> tuple[float, float, float]:
        """Return the largest difference, the fraction of equal predictions and the allowed difference."""
        pixels = self.form.pixels(samples)
        with torch.no_grad():
            expected = torch.cat([self.model(self.form.normalised(part)) for part in pixels.split(max(batches))])
        if not expected.isfinite().all():
            name = type(self.model).__name__
            raise VerificationError(f"expected finite outputs of {name} on real samples, got nan or inf")
        actual = torch.stack([self.run(pixels.split(size), expected) for size in batches])
        allowed = self.tolerance * max(1.0, float(expected.abs().max()))
        agreement = torch.stack([_agrees(expected, one, allowed) for one in actual]).double().mean()
        return float((actual - expected).abs().max()), float(agreement), allowed


def judged(found: Sequence[tuple[float, float, float]], path: Path) -> None:
    """Check differences, shares of equal predictions and allowed differences, as `Pair.compared` returns them.

    Raises:
        VerificationError: If a difference is too large, or a prediction differs.
    """
    for difference, agreement, allowed in found:
        # Written so that nan fails as well.
        if not difference <= allowed:
            raise VerificationError(
                f"expected outputs within {allowed:.3g} of torch's from {path}, got {difference:.3g}"
            )
        if agreement < 1:
            raise VerificationError(f"expected the predictions of torch from {path}, got {agreement:.6f} of them")


def _form(proto: onnx.ModelProto, path: Path, given: Preprocessing | None) -> InputForm:
    """Return what the file takes, as its metadata say; it has to normalise as the samples were normalised."""
    stated = from_metadata(metadata_of(proto))
    own = stated.preprocessing
    if given is not None and own is not None and (own.mean, own.std) != (given.mean, given.std):
        found = f"mean {list(own.mean)} and std {list(own.std)}"
        raise VerificationError(
            f"expected {path} to state mean {list(given.mean)} and std {list(given.std)}, got {found}"
        )
    return InputForm(stated.input, own or given)


def _leaves_size_free(session: onnxruntime.InferenceSession) -> bool:
    return not any(isinstance(side, int) for side in session.get_inputs()[0].shape[2:])


def check_arguments(samples: Tensor, batches: Sequence[int], tolerance: float) -> None:
    """Check that there are samples, and that batch sizes and tolerance are positive.

    Raises:
        DataError: If there are no samples.
        UsageError: If a batch size or the tolerance is not positive.
    """
    if len(samples) == 0:
        raise DataError("expected at least one sample to verify with, got none")
    if not batches or min(batches) < 1:
        raise UsageError(f"expected batch sizes of at least 1, got {list(batches)}")
    if not tolerance > 0:
        raise UsageError(f"expected a tolerance above 0, got {tolerance}")


def _check_signature(session: onnxruntime.InferenceSession, samples: Tensor) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise VerificationError(f"expected one input and one output, got {len(inputs)} and {len(outputs)}")
    for what, found, allowed in (("input", inputs[0], _INPUTS), ("output", outputs[0], _OUTPUTS)):
        if found.type not in allowed:
            raise VerificationError(f"expected an {what} of kind {' or '.join(allowed)}, got {found.type}")
    batch, *rest = inputs[0].shape or [0]
    if isinstance(batch, int):
        raise VerificationError(f"expected an input with a free batch dimension, got {inputs[0].shape}")
    fits = len(rest) == samples.ndim - 1 and all(
        declared == found or not isinstance(declared, int)
        for declared, found in zip(rest, samples.shape[1:], strict=True)
    )
    if not fits:
        raise VerificationError(f"expected an input for samples {list(samples.shape)}, got {inputs[0].shape}")


def _agrees(expected: Tensor, actual: Tensor, tolerance: float) -> Tensor:
    """Return for each prediction whether both models make it; ties within the tolerance agree."""
    if expected.ndim > 1 and expected.shape[1] > 1:
        ours, theirs = expected.argmax(dim=1, keepdim=True), actual.argmax(dim=1, keepdim=True)
        gap = expected.gather(1, ours) - expected.gather(1, theirs)
        return (ours == theirs) | (gap < tolerance)
    return ((expected > 0) == (actual > 0)) | (expected.abs() < tolerance)
