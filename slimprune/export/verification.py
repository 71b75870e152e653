"""Proving an ONNX file against the torch model that it was written from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from torch import Tensor, nn

from slimprune.errors import DataError, UsageError, VerificationError
from slimprune.export.exporter import cpu_copy, opset_version
from slimprune.export.onnx_file import first_line, read_onnx

# onnxruntime's errors have no common parent, and newer versions add to them.
_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    *(kind for kind in vars(runtime).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)

_INVALID: tuple[type[Exception], ...] = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    *_RUNTIME_ERRORS,
)

_FATAL = 4


@dataclass(frozen=True)
class OnnxCheck:
    """A passed verification.

    Attributes:
        path: The file.
        opset: Version of the ONNX operator set.
        max_abs_diff: Largest absolute difference of any output entry, over all samples and batch sizes.
        top1_agreement: Share of equal predictions, in [0, 1]; see `verify_onnx`.
        samples: Inputs compared at every batch size.
        batches: The batch sizes.
    """

    path: Path
    opset: int
    max_abs_diff: float
    top1_agreement: float
    samples: int
    batches: tuple[int, ...]


def verify_onnx(
    model: nn.Module,
    path: str | Path,
    samples: Tensor,
    *,
    batches: Sequence[int] = (1, 2, 5),
    tolerance: float = 1e-4,
) -> OnnxCheck:
    """Checks the file as ONNX, its digest where it has one, and its outputs in onnxruntime on the CPU.

    All samples are run once at every batch size, a smaller last batch included, and compared with the torch model in
    eval mode and float32. The prediction of outputs [N, K, ...] with K > 1 is the argmax over K, at every position of
    what follows; that of other outputs is the sign, at every entry. Predictions that differ count as equal where they
    are a tie: where torch's two logits, or its logit and 0, lie less than the tolerance apart.

    Args:
        model: What the file must compute; untouched.
        path: The ONNX file.
        samples: Inputs [N, ...], N >= 1.
        batches: Batch sizes, each at least 1.
        tolerance: Largest allowed absolute difference, in the outputs' own unit.

    Raises:
        VerificationError: If the file is unreadable, altered, no valid ONNX, has other inputs or outputs than the
            model, or differs by more than the tolerance or in a prediction; or if the model itself gives nan or inf.
        DataError: If there are no samples.
        UsageError: If a batch size or the tolerance is not positive.
    """
    path = Path(path)
    _check_arguments(samples, batches, tolerance)
    proto, data = read_onnx(path)
    session = _open(data, path)
    _check_signature(session, samples)
    plain, samples = cpu_copy(model), samples.detach().to("cpu", torch.float32).contiguous()
    with torch.no_grad():
        expected = torch.cat([plain(part) for part in samples.split(max(batches))])
    if not expected.isfinite().all():
        raise VerificationError(f"expected finite outputs of {type(model).__name__} on real samples, got nan or inf")
    actual = torch.stack([_run(session, samples.split(size), expected) for size in batches])
    difference = float((actual - expected).abs().max())
    agreement = float(torch.stack([_agrees(expected, one, tolerance) for one in actual]).double().mean())
    # Written so that a difference that is not a number is refused as well.
    if not difference <= tolerance:
        raise VerificationError(f"expected outputs within {tolerance:g} of torch's from {path}, got {difference:.3g}")
    if agreement < 1:
        raise VerificationError(f"expected the predictions of torch from {path}, got {agreement:.6f} of them")
    return OnnxCheck(path, opset_version(proto), difference, agreement, len(samples), tuple(batches))


def _check_arguments(samples: Tensor, batches: Sequence[int], tolerance: float) -> None:
    if len(samples) == 0:
        raise DataError("expected at least one sample to verify with, got none")
    if not batches or min(batches) < 1:
        raise UsageError(f"expected batch sizes of at least 1, got {list(batches)}")
    if not tolerance > 0:
        raise UsageError(f"expected a tolerance above 0, got {tolerance}")


def _open(data: bytes, path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    try:
        onnx.checker.check_model(data, full_check=True)
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _INVALID as error:
        raise VerificationError(f"expected a valid ONNX model in {path}, got {first_line(error)}") from error


def _check_signature(session: onnxruntime.InferenceSession, samples: Tensor) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise VerificationError(f"expected one input and one output, got {len(inputs)} and {len(outputs)}")
    batch, *rest = inputs[0].shape or [0]
    if isinstance(batch, int):
        raise VerificationError(f"expected an input with a free batch dimension, got {inputs[0].shape}")
    fits = len(rest) == samples.ndim - 1 and all(
        declared == found or not isinstance(declared, int)
        for declared, found in zip(rest, samples.shape[1:], strict=True)
    )
    if not fits:
        raise VerificationError(f"expected an input for samples {list(samples.shape)}, got {inputs[0].shape}")


def _run(session: onnxruntime.InferenceSession, parts: Iterable[Tensor], expected: Tensor) -> Tensor:
    """The outputs of all parts in one tensor, of the expected shape."""
    name = session.get_inputs()[0].name
    try:
        rows = [torch.from_numpy(session.run(None, {name: part.numpy()})[0]) for part in parts]
    except _RUNTIME_ERRORS as error:
        raise VerificationError(f"expected a model that onnxruntime can run, got {first_line(error)}") from error
    shapes = {row.shape[1:] for row in rows}
    if shapes != {expected.shape[1:]} or sum(map(len, rows)) != len(expected):
        found = [list(row.shape) for row in rows]
        raise VerificationError(f"expected outputs {list(expected.shape)} in all, got batches of {found}")
    return torch.cat(rows)


def _agrees(expected: Tensor, actual: Tensor, tolerance: float) -> Tensor:
    """For each prediction, whether both make it; ties within the tolerance agree."""
    if expected.ndim > 1 and expected.shape[1] > 1:
        ours, theirs = expected.argmax(dim=1, keepdim=True), actual.argmax(dim=1, keepdim=True)
        gap = expected.gather(1, ours) - expected.gather(1, theirs)
        return (ours == theirs) | (gap < tolerance)
    return ((expected > 0) == (actual > 0)) | (expected.abs() < tolerance)
