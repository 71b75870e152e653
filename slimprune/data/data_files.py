"""The files of a data set, as far as they lie in a folder that its name gives."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from slimprune.data.folder import image_files


def data_files(name: str) -> list[Path]:
    """List the files that a data set is made of; none for those that slimprune brings or downloads.

    Raises:
        DataError: If a folder of images is not laid out as such.
    """
    kind, _, source = name.partition(":")
    folder = Path(os.path.expanduser(source))
    return FILES_OF[kind](folder) if kind in FILES_OF and folder.is_dir() else []


def _tensors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _visible(folder: Path) -> list[Path]:
    """Every file in the folder but hidden ones, and those of hidden folders."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(parent, file) for file in files if not file.startswith(".")]
    return sorted(found)


FILES_OF: Mapping[str, Callable[[Path], list[Path]]] = {
    "folder": image_files,
    "hf": _visible,
    "tensors": _tensors,
}
"""By what stands before the colon of a data set's name."""
