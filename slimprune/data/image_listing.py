"""Image files in folders: which there are, in which order, of which sizes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slimprune.bounded import files_below
from slimprune.errors import DataError
from slimprune.preprocessing import image_size

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TEST_FOLDERS = ("val", "test")


def held_out_folder(root: Path) -> Path:
    """Return the folder of the test part, "val" if there are both.

    Raises:
        DataError: If there is none.
    """
    for name in TEST_FOLDERS:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"expected a folder 'val' or 'test' in '{root}', found neither")


def images_in(folder: Path) -> list[Path]:
    """List the images in a folder and below, in order of their paths, without hidden ones.

    Raises:
        OSError: If the folder cannot be read.
    """
    return sorted(
        file for file in files_below(folder) if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")
    )


def image_sizes(files: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Yield the height and width of image files, read only as far as they are asked for."""
    return (image_size(path, str(path)) for path in files)


@contextmanager
def reading_folders() -> Iterator[None]:
    """Raise a `DataError` that names the folder for an `OSError` in the context."""
    try:
        yield
    except OSError as error:
        raise DataError(f"expected folders that can be read, got {error.filename}: {error.strerror}") from error
