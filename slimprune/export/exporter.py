"""Export of a torch model to an ONNX file."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.onnx import OnnxExporterError
from torch.utils._pytree import tree_map_only

from slimprune.errors import UnsupportedModelError, UsageError, VerificationError, kind_and_line
from slimprune.export.full_precision import without_autocast
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import PREFIX, SEAL, serialise, write_bytes
from slimprune.export.runtime import open_session, outputs_of
from slimprune.export.several import Axes, export_several
from slimprune.export.silence import silence
from slimprune.export.sizes import other_sizes, resized, size_step
from slimprune.export.structure import Signature, check_equally_many
from slimprune.forward import ForwardFn, bind_forward
from slimprune.measure import in_steps
from slimprune.preprocessing import Preprocessing, as_metadata
from slimprune.types import InputKind

OPSET = 18
"""Operator set that torch's exporter writes without conversion, in every version since 2.5."""

INPUT, OUTPUT, BATCH, HEIGHT, WIDTH = "input", "output", "batch", "height", "width"

_CLOSE = 1e-4

_EXPORTABLE = "expected a model that torch's ONNX exporter accepts with a free batch dimension"

# A protobuf message is limited to 2 GiB, part of which the graph needs.
_MOST_WEIGHT_BYTES = 2**31 - 2**24


@dataclass(frozen=True)
class OnnxFile:
    """A written ONNX file.

    Attributes:
        path: Path of the file.
        opset: Version of the ONNX operator set.
        bytes: Size of the file, weights included.
        size_step: Step of which image height and width may be multiples; None if they are fixed.
    """

    path: Path
    opset: int
    bytes: int
    size_step: int | None = None


@without_autocast()
def export_onnx(
    model: nn.Module,
    example: Any,
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
    forward_fn: ForwardFn | None = None,
    preprocessing: Preprocessing | None = None,
    input: InputKind | None = None,  # noqa: A002 the name of the option
    free: Mapping[str, Mapping[int, str]] | None = None,
) -> OnnxFile:
    """Write the model, as it computes in eval mode and float32, to one ONNX file.

    The file has one input "input" and one output "output", both with a free batch dimension, and contains the weights.
    Height and width are also free if the output follows them, as in a fully convolutional network for segmentation, and
    if the file computes the same as the model at other sizes.
    Equal models give equal bytes with equal versions of torch and onnxscript. A digest over the bytes is written as the
    last metadata property, `slimprune.sha256`.

    If the example is no tensor but a tuple, list or dict of tensors, the file has an input and an output for each one.
    Inputs have the names of the arguments of `forward` and of keys, outputs those of keys, or `output_0`, `output_1`.

    With a preprocessing the file normalises its inputs itself, and its metadata describe the preprocessing.

    Args:
        model: Model to export; it is copied to the CPU and left unchanged.
        example: An input [N, ...] of the model, normalised; or a tuple of positional arguments, a list or a dict of
            tensors, each [N, ...].
        path: Path of the file; an existing file is replaced atomically.
        metadata: Properties to write as `slimprune.<key>`.
        forward_fn: Function (model, inputs) -> the one output to export, for models that return several.
        preprocessing: How images become the model's input.
        input: What the file takes: `unit`, pixels in 0..1 (default with a preprocessing); `normalized`, the model's own
            input (default without one); or `uint8`, bytes.
        free: Further free dimensions of inputs by name, for an example that is no tensor:
            `{"image": {2: "height", 3: "width"}}`.

    Raises:
        UnsupportedModelError: If the model does not return one tensor with a sample per row, holds 2 GiB or more, has
            batch norms without running statistics, or cannot be exported by torch's exporter.
        UsageError: If the path cannot be written to, the metadata contains the key of the digest, or the preprocessing
            is missing or does not fit the example.
    """
    path, metadata = Path(path), dict(metadata or {})
    if SEAL in {PREFIX + key for key in metadata}:
        raise UsageError(f"expected metadata that leaves {SEAL} free, got {SEAL.removeprefix(PREFIX)}")
    form = InputForm.of(preprocessing, input)
    if not isinstance(example, Tensor):
        _check_norms(model)
        return _export_several(model, example, path, metadata, forward_fn, form, free or {})
    if free:
        raise UsageError(f"expected free dimensions beside an example that is no tensor, got {dict(free)}")
    form.check(example)
    _check_norms(model)
    plain = cpu_copy(bind_forward(model, example, forward_fn)[0])
    sample = example[:1].detach().to("cpu", torch.float32)
    _check_size(plain)
    for rows in (2, 3):
        _check_output(plain, _repeat(sample, rows))
    step, whole = size_step(plain, sample), form.wrapped(plain)
    proto = None if step is None else _with_free_size(whole, _repeat(sample, 2), step, form)
    if proto is None:
        # The exporter would treat a batch of one as a constant.
        pair, free_dims = form.pixels(_repeat(sample, 2)), {0: torch.export.Dim(BATCH)}
        proto, step = _translate_recurrent(whole, pair, free_dims), None
    described = {} if preprocessing is None else as_metadata(form.stated(step))
    data = serialise(proto, {**described, **metadata})
    write_bytes(path, data)
    return OnnxFile(path, opset_version(proto), len(data), step)


def _export_several(
    model: nn.Module,
    example: Any,
    path: Path,
    metadata: Mapping[str, str],
    forward_fn: ForwardFn | None,
    form: InputForm,
    free: Axes,
) -> OnnxFile:
    if form.kind != "normalized" or form.preprocessing is not None:
        raise UsageError("expected no preprocessing beside an example that is no tensor, got one")
    signature = signature_of(model, example, forward_fn, samples=2)
    _check_size(signature.module)
    proto = export_several(signature, free, OPSET)
    data = serialise(proto, metadata)
    write_bytes(path, data)
    return OnnxFile(path, opset_version(proto), len(data))


def signature_of(model: nn.Module, example: Any, forward_fn: ForwardFn | None, samples: int | None = None) -> Signature:
    """Return the inputs and outputs of a copy of the model on the CPU, with the first `samples` samples or all.

    Raises:
        DataError: If the example has no tensors, or they differ in their number of samples.
        UnsupportedModelError: If the model fails on them.
    """
    bound, arguments = bind_forward(model, example, forward_fn)
    arguments = arguments if isinstance(arguments, tuple) else (arguments,)
    check_equally_many(arguments)
    if samples is not None:
        arguments = tree_map_only(Tensor, lambda one: _rows(one, samples), arguments)
    return Signature.of(cpu_copy(bound), arguments)


def _rows(tensor: Tensor, count: int) -> Tensor:
    """Return exactly `count` samples, the first one repeated if there are fewer."""
    if tensor.ndim == 0 or len(tensor) >= count:
        return tensor if tensor.ndim == 0 else tensor[:count]
    return _repeat(tensor[:1], count)


def cpu_copy(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode and float32 on the CPU.

    Raises:
        UnsupportedModelError: If the model holds something that cannot be copied.
    """
    try:
        return copy.deepcopy(model).to("cpu", torch.float32).eval()
    except (RuntimeError, TypeError) as error:
        raise UnsupportedModelError(f"expected a model that can be copied, got {kind_and_line(error)}") from error


def opset_version(model: onnx.ModelProto) -> int:
    """Return the version of the ONNX operator set that the model uses; 0 if it names none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _repeat(sample: Tensor, rows: int) -> Tensor:
    return sample.repeat(rows, *[1] * (sample.ndim - 1))


def _check_norms(model: nn.Module) -> None:
    """Refuse batch norms that use statistics of the batch in eval mode too: a file would differ for another batch."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            rule = "expected batch norms with running statistics, so that a sample's output does not depend on others"
            raise UnsupportedModelError(f"{rule}, got {name or type(module).__name__} (track_running_stats=False)")


def _check_size(model: nn.Module) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > _MOST_WEIGHT_BYTES:
        raise UnsupportedModelError(f"expected weights below 2 GiB, the most an ONNX file holds, got {size} bytes")


def _check_output(model: nn.Module, inputs: Tensor) -> None:
    try:
        with torch.no_grad():
            output = model(inputs)
    except RuntimeError as error:
        rule = f"expected a model that takes inputs {list(inputs.shape)}"
        raise UnsupportedModelError(f"{rule}, got {kind_and_line(error)}") from error
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(f"expected the model to return one tensor, got {type(output).__name__}")
    if output.shape[:1] != inputs.shape[:1]:
        rule = f"expected {len(inputs)} rows of output for {len(inputs)} samples"
        raise UnsupportedModelError(f"{rule}, got {list(output.shape)}")


def _with_free_size(model: nn.Module, pair: Tensor, step: int, form: InputForm) -> onnx.ModelProto | None:
    """Return an ONNX model with free height and width; None if the export fails or its outputs are wrong.

    Args:
        model: Model that takes inputs of the form.
        pair: Two normalised inputs.
        step: Step of height and width.
        form: What the file takes.
    """
    rows, columns = (torch.export.Dim(name) for name in (HEIGHT, WIDTH))
    free = {2: rows, 3: columns} if step == 1 else {2: step * rows, 3: step * columns}
    try:
        proto = _translate(model, form.pixels(pair), {0: torch.export.Dim(BATCH), **free})
        session = open_session(proto.SerializeToString(), Path("a file of free height and width"))
        right = all(_computes(session, model, form.pixels(resized(pair, size))) for size in other_sizes(pair, step))
    except (UnsupportedModelError, VerificationError):
        return None
    return proto if right else None


def _computes(session: onnxruntime.InferenceSession, model: nn.Module, inputs: Tensor) -> bool:
    with torch.no_grad():
        expected = model(inputs)
    return torch.allclose(outputs_of(session, [inputs], expected), expected, rtol=_CLOSE, atol=_CLOSE)


def _translate_recurrent(model: nn.Module, pair: Tensor, free: Mapping[int, Any]) -> onnx.ModelProto:
    """Return an ONNX model; recurrent layers that the exporter does not write, or writes wrongly, compute in steps."""
    if not any(isinstance(module, nn.RNNBase) for module in model.modules()):
        return _translate(model, pair, free)
    with suppress(UnsupportedModelError, VerificationError):
        proto = _translate(model, pair, free)
        if _computes(open_session(proto.SerializeToString(), Path("a file of recurrent layers")), model, pair):
            return proto
    return _translate(in_steps(copy.deepcopy(model)), pair, free)


def _translate(model: nn.Module, pair: Tensor, free: Mapping[int, Any]) -> onnx.ModelProto:
    try:
        with silence():
            program = torch.onnx.export(
                model,
                (pair,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(dict(free),),
                external_data=False,
            )
    except OnnxExporterError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise UnsupportedModelError(f"{_EXPORTABLE}, got {kind_and_line(cause)}") from error
    assert program is not None
    proto = program.model_proto
    dimensions = proto.graph.input[0].type.tensor_type.shape.dim
    if not dimensions[0].dim_param:
        raise UnsupportedModelError(f"{_EXPORTABLE}, got one that depends on the batch size")
    if not all(dimensions[dim].dim_param for dim in free):
        raise UnsupportedModelError(f"{_EXPORTABLE}, got one that depends on the size of the images")
    return proto
