"""Modules in files of `torch.save`, read without their classes: records of attributes stand in their place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slimprune.errors import DataError

LIBRARIES = ("ultralytics.",)
"""Beginnings of the names of classes in files of libraries that save whole modules."""

BESIDE = ("torch.nn.modules.", "builtins.getattr")
"""Beginnings of other names in such files."""

MOST_MODULES = 100_000
"""Most modules inside each other and beside each other in a file."""


class Record:
    """An object whose class is not built, whatever class and arguments the file names for it.

    Attributes:
        attributes: What the object held.
    """

    attributes: Mapping[str, Any]

    def __new__(cls, *args: object, **kwargs: object) -> "Record":
        """Return an empty record; the arguments are not used."""
        record = super().__new__(cls)
        record.attributes = {}
        return record

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Leave the arguments unused."""

    def __setstate__(self, state: object) -> None:
        """Keep what the file says that the object held."""
        self.attributes = state if isinstance(state, dict) else {}

    def entries(self, name: str) -> Mapping[str, Any]:
        """Return a mapping that the object held under this name; empty if there is none."""
        found = self.attributes.get(name)
        return found if isinstance(found, dict) else {}


def stand_ins(file: Path) -> list[Any]:
    """Return the globals of a file that records take the place of, as `torch.serialization.safe_globals` takes them.

    There are none, unless the file names a class of `LIBRARIES`: then also those of `BESIDE`.
    """
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # noqa: BLE001 whatever is wrong with the file is found by the reading that follows
        return []
    if not any(name.startswith(LIBRARIES) for name in named):
        return []
    return [(Record, name) for name in named if name.startswith((*LIBRARIES, *BESIDE))]


def tensors_of(module: Record) -> dict[str, Tensor]:
    """Return parameters and buffers of a recorded module under the names that its state dict has.

    Raises:
        DataError: If there are more modules in it than any network has.
    """
    found: dict[str, Tensor] = {}
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, current = waiting.pop(0)
        seen += 1
        if seen > MOST_MODULES:
            raise DataError(f"expected at most {MOST_MODULES:,} modules in a network, got more")
        held = {**current.entries("_parameters"), **current.entries("_buffers")}
        found |= {prefix + name: value for name, value in held.items() if isinstance(value, Tensor)}
        inner = current.entries("_modules").items()
        waiting += [(f"{prefix}{name}.", one) for name, one in inner if isinstance(one, Record)]
    return found
