"""Bytes of an ONNX file: metadata and a digest that detects changes, but nothing about the machine that wrote it.

The digest (seal) is the last metadata property, `slimprune.sha256`. Serialised protobuf messages can be concatenated,
so the seal is appended: the file is the serialised model followed by a serialised model that holds this property
alone. The digest covers every byte before the second part.
"""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from slimprune.bounded import read_bounded
from slimprune.errors import UsageError, VerificationError, kind_and_line
from slimprune.files import write_atomically
from slimprune.types import PRECISIONS, Precision

PREFIX = "slimprune."
SEAL = PREFIX + "sha256"
PRECISION = "precision"
"""Key of the metadata that states the numbers of a file."""

LARGEST = 2**31
"""Most bytes of a protobuf message, and so of a file."""

_NOTES = ("doc_string", "metadata_props")


def serialise(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """Return the sealed bytes of a model with this metadata and no other notes; equal models give equal bytes.

    Args:
        model: Model to serialise. It is changed in place: documentation strings and metadata, including the exporter's
            stack traces, are removed.
        metadata: Properties to write as `slimprune.<key>`, in the order of the keys.
    """
    _remove_notes(model)
    for key in sorted(metadata):
        model.metadata_props.add(key=PREFIX + key, value=metadata[key])
    data: bytes = model.SerializeToString(deterministic=True)
    return data + _seal(data)


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file as a whole or not at all.

    Raises:
        UsageError: If the path cannot be written to.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"expected a writable {path}, got {kind_and_line(error)}") from error


def read_onnx(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """Return the model in the file and the file's bytes.

    Raises:
        VerificationError: If the file is unreadable, or has slimprune's metadata and the seal does not match its bytes.
    """
    try:
        data = read_bounded(path, LARGEST)
        model = onnx.load_from_string(data)
        # Texts are decoded when they are asked for.
        marked = any(entry.key.startswith(PREFIX) for entry in model.metadata_props if entry.value is not None)
    except (OSError, DecodeError, ValueError) as error:
        raise VerificationError(f"expected a readable ONNX file {path}, got {kind_and_line(error)}") from error
    if uses_external_data(model):
        raise VerificationError(f"expected {path} to hold its own weights, got one that reads them from other files")
    if marked and not _is_sealed(data):
        raise VerificationError(f"expected {path} to have the bytes that its SHA-256 was taken of, got others")
    return model, data


def uses_external_data(model: onnx.ModelProto) -> bool:
    """Return whether a tensor of the model, at whatever depth, is read from another file."""
    return any(
        tensor.data_location == onnx.TensorProto.EXTERNAL
        for tensor in onnx.external_data_helper._get_all_tensors(model)
    )


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata passed to `export_onnx`, without the prefix and the seal.

    Raises:
        VerificationError: If the file is unreadable or altered.
    """
    return metadata_of(read_onnx(path)[0])


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return slimprune's metadata in a model, without the prefix and the seal."""
    entries = {entry.key: entry.value for entry in model.metadata_props if entry.key != SEAL}
    return {key.removeprefix(PREFIX): value for key, value in entries.items() if key.startswith(PREFIX)}


def precision_of(metadata: Mapping[str, str]) -> Precision:
    """Return the numbers of the file with this metadata; 32-bit floats if it does not say.

    Raises:
        VerificationError: If the file states an unknown precision.
    """
    stated = metadata.get(PRECISION, "fp32")
    found = next((precision for precision in PRECISIONS if precision == stated), None)
    if found is None:
        raise VerificationError(f"expected metadata {PRECISION} ({', '.join(PRECISIONS)}), got {stated!r}")
    return found


def _seal(data: bytes) -> bytes:
    piece = onnx.ModelProto()
    piece.metadata_props.add(key=SEAL, value=hashlib.sha256(data).hexdigest())
    sealed: bytes = piece.SerializeToString(deterministic=True)
    return sealed


_SEAL_LENGTH = len(_seal(b""))


def _is_sealed(data: bytes) -> bool:
    return data[-_SEAL_LENGTH:] == _seal(data[:-_SEAL_LENGTH])


def _remove_notes(model: onnx.ModelProto) -> None:
    _forget([model, *model.functions])
    _clean_graph(model.graph)
    for function in model.functions:
        _clean_nodes(function.node)


def _clean_graph(graph: onnx.GraphProto) -> None:
    _forget([graph])
    _forget(chain(graph.input, graph.output, graph.value_info, graph.initializer))
    _clean_nodes(graph.node)


def _clean_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        _forget([node, *node.attribute])
        for attribute in node.attribute:
            nested = [attribute.g] if attribute.HasField("g") else []
            for graph in [*nested, *attribute.graphs]:
                _clean_graph(graph)


def _forget(messages: Iterable[Any]) -> None:
    """Clear the documentation and metadata fields of the messages that have them."""
    for message in messages:
        for field in _NOTES:
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
