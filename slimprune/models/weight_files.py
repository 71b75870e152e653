"""Reading of weight files as they lie around: safetensors, and the state dicts within files of `torch.save`."""

import argparse
import json
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from slimprune.bounded import check_regular
from slimprune.errors import DataError, first_line
from slimprune.models.module_records import Record, stand_ins, tensors_of

PICKLED = (".pth", ".pt", ".tar", ".ckpt", ".bin")
"""Endings of files of `torch.save`."""

CONTAINERS = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "module", "params", "weights",
    "ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema",
)  # fmt: skip
"""Entries of a checkpoint that may hold the state dict, in order of precedence: plain weights before averaged ones."""

_INDEX = ".index.json"
_SCALARS = "?bhilqBHILQefd"
_SCALAR = np.float64().__reduce__()[0]
_DATA_CLASSES: list[Any] = [
    argparse.Namespace, PosixPath, WindowsPath, PurePosixPath, PureWindowsPath,
    np.dtype, *{type(np.dtype(kind)) for kind in _SCALARS},
    _SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"),
]  # fmt: skip
"""Plain values beside the weights, such as arguments and the best accuracy, that are built although torch would not.

None of them calls a function of the file's choice.
"""


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name, on the CPU; no code of the file is run.

    Args:
        file: A safetensors file, the index of a sharded one or a folder with one of them; or a file of `torch.save`
            that is a state dict or contains one under one of `CONTAINERS`, directly or nested once; or such a file of
            ultralytics, which contains a whole module, of which the tensors are read.

    Raises:
        DataError: If the file is missing, damaged, of another kind, contains code, or contains no state dict.
    """
    if file.is_dir():
        file = _in_folder(file)
    try:
        check_regular(file)
    except OSError as error:
        raise DataError(f"weights {file} cannot be read: {error.strerror}") from error
    if file.name.endswith(_INDEX):
        return _read_shards(file)
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix not in PICKLED:
        raise DataError(f"weights {file}: expected a file .safetensors, {', '.join(PICKLED)}, got {file.suffix or '-'}")
    return _state_dict(_unpickled(file), file)


def _in_folder(folder: Path) -> Path:
    """Return the only safetensors file of a folder, or the index of several."""
    indexes, files = (sorted(folder.glob(f"*.safetensors{ending}")) for ending in (_INDEX, ""))
    if len(indexes) == 1:
        return indexes[0]
    if len(files) != 1:
        raise DataError(f"weights {folder}: expected one safetensors file in the folder or an index, got {len(files)}")
    return files[0]


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"weights {file} cannot be read: {first_line(error)}") from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        shards = json.loads(index.read_bytes())["weight_map"].values()
        names = dict.fromkeys(Path(shard).name for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"weights {index} cannot be read: expected an index of safetensors files") from error
    return {name: tensor for shard in names for name, tensor in _read_safetensors(index.parent / shard).items()}


def _unpickled(file: Path) -> object:
    try:
        with (
            torch.serialization.safe_globals([*_DATA_CLASSES, *stand_ins(file)]),
            warnings.catch_warnings(action="ignore"),
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the unpickler raise errors of almost any type
        raise DataError(f"weights {file} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return in a clause why torch did not read a file; its own messages advise to read it without safety."""
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return f"it contains code or objects ({named[1]}), none of which was run; a state_dict() alone is read"
    if "TorchScript" in text:
        return "it is a TorchScript archive, not a state dict"
    if isinstance(error, EOFError):
        return "it is empty, or ends too early"
    if isinstance(error, pickle.UnpicklingError | LookupError) or "central directory" in text:
        return "it is damaged, or not a file of torch.save"
    if isinstance(error, OSError):
        return error.strerror or first_line(error)
    return first_line(error).partition(". ")[0] or type(error).__name__


def _state_dict(content: object, file: Path) -> dict[str, Tensor]:
    """Return the tensors of the first state dict in a checkpoint; other entries of it are left out."""
    for found in _candidates(content):
        tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
        if tensors:
            return {name: tensor.detach() for name, tensor in tensors.items() if isinstance(name, str)}
    if isinstance(content, Mapping):
        entries = ", ".join(str(name) for name in list(content)[:5]) or "none"
        found_text = f"the entries {entries}"
    else:
        found_text = f"a {type(content).__name__}"
    raise DataError(f"weights {file}: expected a state dict, or one under {', '.join(CONTAINERS)}, got {found_text}")


def _candidates(content: object, depth: int = 2) -> Iterator[Mapping[object, object]]:
    """Yield the mappings that may be the state dict, inner ones before the mapping that contains them."""
    if isinstance(content, Record):
        yield cast(Mapping[object, object], tensors_of(content))
    if not isinstance(content, Mapping):
        return
    if depth > 0:
        for name in CONTAINERS:
            yield from _candidates(content.get(name), depth - 1)
    yield cast(Mapping[object, object], content)
