"""ONNX files of lower precision, made from one of 32-bit floats."""

from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import onnx
import torch
from torch import Tensor

from slimprune.errors import UnsupportedModelError, UsageError, kind_and_line
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import PRECISION, metadata_of, precision_of, read_onnx, serialise, write_bytes
from slimprune.export.quantisation import METHODS, Calibration, quantise
from slimprune.export.runtime import CONVERSION_ERRORS, open_session
from slimprune.export.silence import onnxruntime_tools
from slimprune.preprocessing import from_metadata
from slimprune.types import Precision


def convert_onnx(
    source: str | Path,
    target: str | Path,
    precision: Precision,
    *,
    images: Tensor | None = None,
    methods: Sequence[str] = METHODS,
) -> Calibration | None:
    """Write an ONNX file of 32-bit floats in a lower precision.

    Input and output stay as they are, and so do the metadata, to which `slimprune.precision` is added.

    Args:
        source: ONNX file made by `export_onnx`.
        target: Path of the new file; an existing file is replaced atomically.
        precision: `fp16` for 16-bit floats, converted by onnxruntime; `int8`, see `quantisation`.
        images: Training images [N, ...], normalised as the network takes them, on the CPU; for int8. A few hundred are
            enough, of which one half is held out from the calibration.
        methods: Calibration methods for int8, in the order in which they are tried; see `quantise`.

    Returns:
        How the ranges of int8 were chosen; None for fp16.

    Raises:
        UsageError: If images are missing, the source does not hold 32-bit floats, or the target cannot be written to.
        DataError: If there are no images.
        UnsupportedModelError: If onnxruntime cannot convert the network.
        VerificationError: If the source is unreadable or altered.
    """
    source, target = Path(source), Path(target)
    model, _ = read_onnx(source)
    metadata = metadata_of(model)
    found, calibration = precision_of(metadata), None
    if found != "fp32" or precision not in ("fp16", "int8"):
        raise UsageError(f"expected to make fp16 or int8 of fp32, got {precision} of {found} ({source})")
    if precision == "fp16":
        converted = _halved(model)
    elif images is None:
        raise UsageError("expected training images for the calibration of int8, got none")
    else:
        stated = from_metadata(metadata)
        inputs = InputForm(stated.input, stated.preprocessing).pixels(images.detach().to("cpu", torch.float32))
        converted, calibration = quantise(model, inputs, methods)
    converted.ir_version = model.ir_version
    write_bytes(target, serialise(converted, {**metadata, PRECISION: precision}))
    return calibration


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with 16-bit floats inside; its input and output keep their types."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    try:
        with onnxruntime_tools():
            from onnxruntime.transformers.float16 import convert_float_to_float16

            halved = _sorted(convert_float_to_float16(copied, keep_io_types=True))
        open_session(halved.SerializeToString(), Path("a file of 16-bit floats"))
    except CONVERSION_ERRORS as error:
        rule = "expected a network that onnxruntime can convert to fp16"
        raise UnsupportedModelError(f"{rule}, got {kind_and_line(error)}") from error
    return halved


def _sorted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put every node of the graph behind those whose outputs it takes; the converter appends its casts at the end."""
    nodes = list(model.graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    needs = {number: [makers[name] for name in _taken(node) if name in makers] for number, node in enumerate(nodes)}
    found = [nodes[number] for number in TopologicalSorter(needs).static_order()]
    del model.graph.node[:]
    model.graph.node.extend(found)
    return model


def _taken(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node takes, those of its nested graphs included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            for inner in graph.node:
                yield from _taken(inner)
