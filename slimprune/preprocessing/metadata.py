"""Preprocessing as metadata of an ONNX file: short texts by key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from slimprune.errors import UsageError, VerificationError
from slimprune.preprocessing.description import Preprocessing
from slimprune.types import InputKind

_TEXTS = ("interpolation",)
_PARTS = ("mean", "std", "height", "width", "interpolation", "class_names")


@dataclass(frozen=True)
class Stated:
    """What an ONNX file states about its input.

    Attributes:
        input: What it takes; `normalized` if it does not say.
        preprocessing: Preprocessing of images; None if it is unknown.
        size_step: Step of which image height and width may be multiples; None if they are fixed.
        output: How its output is read, see `slimprune.tasks.Task.reads`; "" if it does not say.
    """

    input: InputKind = "normalized"
    preprocessing: Preprocessing | None = None
    size_step: int | None = None
    output: str = ""


def as_metadata(stated: Stated) -> dict[str, str]:
    """Return what a file states, as metadata; lists and numbers are JSON."""
    found = {"input": str(stated.input)}
    if stated.size_step is not None:
        found["size_step"] = str(stated.size_step)
    how = stated.preprocessing
    if how is not None:
        parts: dict[str, Any] = {name: getattr(how, name) for name in _PARTS}
        found |= {name: value if name in _TEXTS else json.dumps(value) for name, value in parts.items()}
        found |= {"channel_order": how.channel_order} if how.channel_order else {}
    return found


def from_metadata(metadata: Mapping[str, str]) -> Stated:
    """Return what the metadata of a file states.

    Raises:
        VerificationError: If a value cannot be read, or some of the values are missing.
    """
    kinds: tuple[InputKind, ...] = get_args(InputKind)
    stated = metadata.get("input", "normalized")
    kind = next((kind for kind in kinds if kind == stated), None)
    if kind is None:
        raise VerificationError(f"expected metadata input ({', '.join(kinds)}), got {stated!r}")
    step = metadata.get("size_step")
    how = _preprocessing(metadata) if "mean" in metadata else None
    if how is None and kind != "normalized":
        raise VerificationError(f"expected metadata mean beside input {kind}, got none")
    return Stated(kind, how, None if step is None else int(_number("size_step", step)), metadata.get("output", ""))


def _preprocessing(metadata: Mapping[str, str]) -> Preprocessing:
    found: dict[str, Any] = {}
    for name in _PARTS:
        if name not in metadata:
            raise VerificationError(f"expected metadata {name} beside mean, got none")
        text = metadata[name]
        found[name] = text if name in _TEXTS else _read(name, text)
    try:
        return Preprocessing(
            mean=tuple(map(float, found["mean"])),
            std=tuple(map(float, found["std"])),
            height=int(found["height"]),
            width=int(found["width"]),
            interpolation=found["interpolation"],
            class_names=tuple(map(str, found["class_names"])),
        )
    except (TypeError, ValueError) as error:
        raise VerificationError(f"expected metadata of lists and numbers, got {error}") from error
    except UsageError as error:
        raise VerificationError(f"metadata cannot be used: {error}") from error


def _read(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise VerificationError(f"expected metadata {name} as JSON, got {text[:80]!r}") from error


def _number(name: str, text: str) -> int:
    value = _read(name, text)
    if not isinstance(value, int) or value < 1:
        raise VerificationError(f"expected metadata {name} of at least 1, got {text[:80]!r}")
    return value
