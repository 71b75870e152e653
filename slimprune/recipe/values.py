"""Values of a recipe: their ranges, and how they are read from text."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter, ValidationError

from slimprune.bounded import read_bounded
from slimprune.types import AUTO, BALANCED

MOST, MOST_EPOCHS, MOST_AT_ONCE, MOST_THREADS, WIDEST = 2**31, 100_000, 2**20, 1024, 2**16
LARGEST = 1e30
"""Upper ends of the ranges: beyond any use, and far below what overflows in 32-bit floats and 64-bit integers."""
_SWITCH: TypeAdapter[bool] = TypeAdapter(bool)
LARGEST_TEXT = 2**20
"""Most bytes of a file of class names."""


def plain(value: object) -> object:
    """Return a value unchanged after checking its texts, which have to be written to files and shown."""
    if isinstance(value, bytes | Path):
        plain(os.fsdecode(value))
    elif isinstance(value, str):
        if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
            raise ValueError("Input should be text in UTF-8 without null bytes")
    elif isinstance(value, dict):
        for part in (*value.keys(), *value.values()):
            plain(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            plain(part)
    return value


def as_list(value: object) -> object:
    """Split text with commas; return anything else unchanged."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def as_names(value: object) -> object:
    """Read names from a text file, one per line, or from text with commas; return anything else unchanged."""
    if not isinstance(value, str | Path):
        return value
    try:
        file = Path(value).expanduser()
    except RuntimeError as error:  # no such user
        raise ValueError("Input should be a text file that exists, or names with commas") from error
    if file.suffix == ".txt" and not file.is_file():
        raise ValueError("Input should be a text file that exists, or names with commas")
    try:
        text = read_bounded(file, LARGEST_TEXT).decode().strip() if file.is_file() else None
    except (OSError, ValueError) as error:
        raise ValueError("Input should be a text file with a name per line, or names with commas") from error
    return as_list(str(value)) if text is None else [line.strip() for line in text.splitlines()]


def as_shares(value: object) -> object:
    """Parse text such as `macs=0.8,channels=0.5` into a mapping; return anything else unchanged."""
    if not isinstance(value, str):
        return value
    pairs = [(of.strip(), share.strip()) for of, _, share in (part.partition("=") for part in value.split(","))]
    if len({of for of, _ in pairs}) < len(pairs):
        raise ValueError("Input should be each quantity once")
    return dict(pairs)


def _in_range(share: float) -> float:
    if not 0 < share < 1:
        raise ValueError("Input should be a share in (0, 1)")
    return share


def as_weights(value: object) -> object:
    """Return one or more positive numbers as a tuple, and `balanced` as it is."""
    if value == BALANCED:
        return value
    parts = [value] if isinstance(value, int | float) and not isinstance(value, bool) else as_list(value)
    try:
        numbers = tuple(map(float, parts)) if isinstance(parts, list | tuple) else (0.0,)
    except (TypeError, ValueError):
        numbers = (0.0,)
    if not all(0 < number <= LARGEST for number in numbers):
        raise ValueError(f"Input should be finite numbers above 0, or {BALANCED}")
    return numbers


def as_rounding(value: object) -> object:
    """Return a width as an integer, and `auto` or None as it is."""
    if value is None or value == AUTO:
        return value
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and text.strip("0")):
        raise ValueError(f"Input should be a whole number of at least 1, or {AUTO}")
    if len(text) > 9 or int(text) > WIDEST:
        raise ValueError(f"Input should be a whole number of at most {WIDEST}, or {AUTO}")
    return int(text)


def as_amp(value: object) -> object:
    """Return a switch as a bool, and `auto` as it is."""
    if value == AUTO:
        return value
    try:
        return _SWITCH.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"Input should be true, false or {AUTO}") from error


Share = Annotated[float, AfterValidator(_in_range)]
