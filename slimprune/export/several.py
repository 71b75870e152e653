"""ONNX files with several inputs or outputs: writing, and comparing with the torch model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor
from torch.onnx import OnnxExporterError

from slimprune.errors import UnsupportedModelError, UsageError, VerificationError, kind_and_line
from slimprune.export.runtime import RUNTIME_ERRORS, open_session
from slimprune.export.silence import silence
from slimprune.export.structure import Signature

BATCH = "batch"
CLOSE = 1e-4

Axes = Mapping[str, Mapping[int, str]]
"""Further free dimensions by name of the input: {"image": {2: "height", 3: "width"}}."""

Found = tuple[float, float, float]
"""Largest difference, fraction of equal predictions and allowed difference."""


def export_several(signature: Signature, free: Axes, opset: int) -> onnx.ModelProto:
    """Return an ONNX model with an input and an output for every tensor, all with a free batch dimension.

    Args:
        signature: The model with its inputs, two samples each.
        free: Further free dimensions; the file is compared with the model at twice their sizes.
        opset: Version of the ONNX operator set.

    Raises:
        UsageError: If `free` names no input or no dimension behind the first.
        UnsupportedModelError: If torch's exporter cannot export the model with these free dimensions, or the file
            computes something else at other sizes.
    """
    _check_axes(signature, free)
    symbols = {
        name: torch.export.Dim(name) for name in {BATCH, *(axis for axes in free.values() for axis in axes.values())}
    }
    shapes = tuple(
        {0: symbols[BATCH], **{dim: symbols[axis] for dim, axis in free.get(name, {}).items()}}
        for name in signature.inputs
    )
    try:
        with silence():
            program = torch.onnx.export(
                signature.module,
                signature.samples,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                dynamic_shapes=(shapes,),
                external_data=False,
            )
    except OnnxExporterError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        rule = "expected a model that torch's ONNX exporter accepts with a free batch dimension"
        raise UnsupportedModelError(f"{rule}, got {kind_and_line(cause)}") from error
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    _check_free(proto, signature, free)
    if free:
        _check_sizes(proto, signature, free)
    return proto


def compare_several(
    session: onnxruntime.InferenceSession,
    signature: Signature,
    batches: Sequence[int],
    tolerance: float,
    agrees: Callable[[Tensor, Tensor, float], Tensor],
) -> list[Found]:
    """Return how far each output of a file is from torch's, over all samples at every batch size.

    Args:
        session: Session of the file.
        signature: The model with its inputs.
        batches: Batch sizes.
        tolerance: Largest allowed difference, relative to the largest absolute value of an output if that is above 1.
        agrees: Function (expected, actual, allowed) -> whether each prediction is equal.

    Raises:
        VerificationError: If the file has other inputs or outputs, or the model's own outputs contain nan or inf.
    """
    for what, names, there in (
        ("inputs", signature.inputs, session.get_inputs()),
        ("outputs", signature.outputs, session.get_outputs()),
    ):
        if (found := [one.name for one in there]) != list(names):
            raise VerificationError(f"expected {what} {', '.join(names)}, got {', '.join(found)}")
    with torch.no_grad():
        expected = signature.module(*signature.samples)
    if not all(output.isfinite().all() for output in expected if output.is_floating_point()):
        raise VerificationError("expected finite outputs on real samples, got nan or inf")
    found = []
    for size in batches:
        parts = [
            run(session, signature.inputs, part)
            for part in zip(*(one.split(size) for one in signature.samples), strict=True)
        ]
        for name, wanted, *rows in zip(signature.outputs, expected, *parts, strict=True):
            found.append(_compared(name, wanted, torch.cat(rows), tolerance, agrees))
    return found


def run(session: onnxruntime.InferenceSession, names: Sequence[str], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of a file for inputs in the order of their names.

    Raises:
        VerificationError: If onnxruntime cannot run it.
    """
    try:
        outputs = session.run(None, {name: one.numpy() for name, one in zip(names, inputs, strict=True)})
    except RUNTIME_ERRORS as error:
        raise VerificationError(f"expected a model that onnxruntime can run, got {kind_and_line(error)}") from error
    return [torch.from_numpy(output) for output in outputs]


def _compared(
    name: str, expected: Tensor, actual: Tensor, tolerance: float, agrees: Callable[[Tensor, Tensor, float], Tensor]
) -> Found:
    if expected.shape != actual.shape:
        raise VerificationError(f"expected {name} of shape {list(expected.shape)}, got {list(actual.shape)}")
    if not expected.is_floating_point():  # indices and the like, of which every one has to be equal
        same = float((expected == actual).double().mean())
        return 0.0 if same == 1 else float("inf"), same, 0.0
    allowed = tolerance * max(1.0, float(expected.abs().max()))
    agreement = float(agrees(expected, actual, allowed).double().mean())
    return float((actual - expected).abs().max()), agreement, allowed


def _check_axes(signature: Signature, free: Axes) -> None:
    for name, axes in free.items():
        if name not in signature.inputs:
            raise UsageError(f"expected free dimensions of an input ({', '.join(signature.inputs)}), got {name!r}")
        sample = signature.samples[signature.inputs.index(name)]
        for dim, axis in axes.items():
            if not 1 <= dim < sample.ndim or axis == BATCH or not axis.isidentifier():
                rule = f"expected free dimensions 1 ... {sample.ndim - 1} of {name} with names other than {BATCH}"
                raise UsageError(f"{rule}, got {dim}: {axis!r}")


def _check_free(proto: onnx.ModelProto, signature: Signature, free: Axes) -> None:
    for entry in proto.graph.input:
        dimensions = entry.type.tensor_type.shape.dim
        for dim in (0, *free.get(entry.name, {})):
            if not dimensions[dim].dim_param:
                rule = f"expected dimension {dim} of {entry.name} to be free"
                raise UnsupportedModelError(f"{rule}, got {dimensions[dim].dim_value}")
    if (found := [entry.name for entry in proto.graph.input]) != list(signature.inputs):
        rule = f"expected a model that uses all its inputs ({', '.join(signature.inputs)})"
        raise UnsupportedModelError(f"{rule}, got one of {', '.join(found) or 'none'}")


def _check_sizes(proto: onnx.ModelProto, signature: Signature, free: Axes) -> None:
    """Compare the file with the model at twice the size of every free dimension."""
    larger: list[Tensor] = []
    for name, sample in zip(signature.inputs, signature.samples, strict=True):
        repeats: list[Any] = [2 if dim in free.get(name, {}) else 1 for dim in range(sample.ndim)]
        larger.append(sample.repeat(*repeats))
    session = open_session(proto.SerializeToString(), Path("a file of free dimensions"))
    with torch.no_grad():
        expected = signature.module(*larger)
    for name, wanted, actual in zip(signature.outputs, expected, run(session, signature.inputs, larger), strict=True):
        if wanted.shape != actual.shape or not torch.allclose(wanted.double(), actual.double(), rtol=CLOSE, atol=CLOSE):
            raise UnsupportedModelError(f"expected {name} to follow the free dimensions, got other values in the file")
