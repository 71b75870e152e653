"""Image files named one by one, by folders or by patterns."""

import glob
from collections.abc import Iterable
from pathlib import Path

from slimprune.bounded import files_below
from slimprune.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_images(names: Iterable[str | Path]) -> list[Path]:
    """Return image files, each once: a file as it is, of a folder all images below it, of a pattern what it matches.

    Raises:
        DataError: If there is no such file, or a folder or a pattern holds no images.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name).expanduser()
        files = [path] if path.is_file() else _below(path) if path.is_dir() else _matching(str(path))
        if not files:
            raise DataError(f"expected image files at {name}, found none")
        found.update(dict.fromkeys(files))
    return list(found)


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in files_below(folder) if _is_image(path)) if folder.is_dir() else []


def _matching(pattern: str) -> list[Path]:
    """Return the files that a pattern matches, and the images in the folders that it matches."""
    paths = [Path(found) for found in sorted(glob.glob(pattern, recursive=True))]
    return [file for path in paths for file in ([path] if path.is_file() else _below(path))]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
