"""The local files of a data set, if its name contains their folder."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from slimprune.bounded import files_below
from slimprune.data.cell_tracking import cell_tracking_files
from slimprune.data.folder import image_files
from slimprune.data.shards import shard_files
from slimprune.data.tiny_imagenet import tiny_imagenet_files


def data_files(name: str) -> list[Path]:
    """List the files of a data set; empty for data sets that slimprune bundles or downloads.

    Raises:
        DataError: If a folder of images does not have the expected layout.
    """
    kind, _, source = name.partition(":")
    folder = Path(os.path.expanduser(source))
    return FILES_OF[kind](folder) if kind in FILES_OF and folder.is_dir() else []


def _tensors(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.safetensors") if file.is_file())


def _visible(folder: Path) -> list[Path]:
    """List every file in the folder except hidden files and those in hidden folders."""
    return sorted(file for file in files_below(folder, hidden=False) if not file.name.startswith("."))


FILES_OF: Mapping[str, Callable[[Path], list[Path]]] = {
    "cell-tracking": cell_tracking_files,
    "folder": image_files,
    "hf": _visible,
    "parquet": _visible,
    "tensors": _tensors,
    "tiny-imagenet": tiny_imagenet_files,
    "webdataset": shard_files,
}
"""Functions that list the files of a folder, by the part of a data set's name before the colon."""
