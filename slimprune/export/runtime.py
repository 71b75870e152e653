"""ONNX models in onnxruntime, on the CPU and without log messages."""

from collections.abc import Iterable
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from torch import Tensor

from slimprune.errors import VerificationError, kind_and_line
from slimprune.onnx_sessions import FATAL, session_options

# onnxruntime's errors have no common base class, and newer versions add more of them.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    *(kind for kind in vars(runtime).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)

_INVALID: tuple[type[Exception], ...] = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    *RUNTIME_ERRORS,
)

CONVERSION_ERRORS: tuple[type[Exception], ...] = (
    *_INVALID,
    VerificationError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
)
"""What onnxruntime's converters raise for a graph that they do not know."""


def open_session(data: bytes, path: Path) -> onnxruntime.InferenceSession:
    """Open a session for a model after checking that it is valid ONNX.

    Args:
        data: The serialised model.
        path: Name of the model in error messages.

    Raises:
        VerificationError: If the model is not valid.
    """
    options = session_options(severity=FATAL)
    try:
        onnx.checker.check_model(data, full_check=True)
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _INVALID as error:
        raise VerificationError(f"expected a valid ONNX model in {path}, got {kind_and_line(error)}") from error


def outputs_of(session: onnxruntime.InferenceSession, parts: Iterable[Tensor], expected: Tensor) -> Tensor:
    """Return the outputs for all batches in one tensor.

    Args:
        session: Session of a model with one input and one output.
        parts: Batches of inputs.
        expected: Tensor with the expected shape of the outputs.

    Raises:
        VerificationError: If the model cannot be run, or its outputs have another shape.
    """
    name = session.get_inputs()[0].name
    try:
        rows = [torch.from_numpy(session.run(None, {name: part.numpy()})[0]) for part in parts]
    except RUNTIME_ERRORS as error:
        raise VerificationError(f"expected a model that onnxruntime can run, got {kind_and_line(error)}") from error
    shapes = {row.shape[1:] for row in rows}
    if shapes != {expected.shape[1:]} or sum(map(len, rows)) != len(expected):
        found = [list(row.shape) for row in rows]
        raise VerificationError(f"expected outputs {list(expected.shape)} in all, got batches of {found}")
    return torch.cat(rows)


def predictions(outputs: Tensor) -> Tensor:
    """Return the argmax over K of outputs [N, K, ...] with K > 1; otherwise whether each entry is above 0."""
    return outputs.argmax(dim=1) if outputs.ndim > 1 and outputs.shape[1] > 1 else outputs > 0
