"""Images in one folder per class: DIR/train/CLASS/* and DIR/val/CLASS/* (or DIR/test/CLASS/*)."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slimprune.bounded import files_below
from slimprune.data.decoding import choose_size
from slimprune.data.encoded_images import EncodedImages
from slimprune.data.image_data import ImageData
from slimprune.data.streamed_data import STREAM_ABOVE, hold_or_stream
from slimprune.errors import DataError, visible
from slimprune.preprocessing import image_size

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TEST_FOLDERS = ("val", "test")


@dataclass(frozen=True)
class FileSamples(EncodedImages):
    """Image files with labels.

    Attributes:
        paths: One file per sample.
        labels: Class index of each file.
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    size: int | None

    @classmethod
    def of(cls, files: Sequence[tuple[Path, int]], size: int | None) -> "FileSamples":
        """Return the samples of files with the indices of their classes."""
        paths, labels = zip(*files, strict=True)
        return cls(paths, labels, size)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def encoded(self, index: int) -> tuple[Path, str, int]:
        """Return a file, its path as text, and its class index."""
        return self.paths[index], str(self.paths[index]), self.labels[index]


def load_folder(name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load a folder of images.

    Images that all have one size of up to 64 pixels keep it. Otherwise the shorter side is resized and the centre
    cropped to a square. If both folders "val" and "test" exist, "val" is used.

    Args:
        name: Name of the set in reports.
        source: The folder.
        image_size: Side in pixels that images are resized and cropped to; by default 224 if they need resizing.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If a part or all images are missing, the parts' classes differ, or an image cannot be read.
    """
    root = Path(os.path.expanduser(source))
    try:
        classes, train_files, test_files = _listed(root)
    except OSError as error:
        raise DataError(f"expected folders that can be read, got {error.filename}: {error.strerror}") from error
    size = choose_size(image_sizes([*train_files, *test_files]), image_size, keep_large=False)
    return hold_or_stream(
        name, FileSamples.of(train_files, size), FileSamples.of(test_files, size), classes, stream_above
    )


def image_files(root: Path) -> list[Path]:
    """List the images of both parts of a folder.

    Raises:
        DataError: If a part or all images are missing, or the parts' classes differ.
    """
    _, train_files, test_files = _listed(root)
    return [path for path, _ in (*train_files, *test_files)]


def _test_folder(root: Path) -> Path:
    for name in TEST_FOLDERS:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"expected a folder 'val' or 'test' in '{root}', found neither")


def _listed(root: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Return the classes and the files of both parts."""
    try:
        return _checked(root)
    except OSError as error:
        raise DataError(f"expected folders that can be read, got {error.filename}: {error.strerror}") from error


def _checked(root: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]], list[tuple[Path, int]]]:
    train = root / "train"
    classes = _class_names(train)
    test = _test_folder(root)
    found = _class_names(test)
    if found != classes:
        different = ", ".join(sorted(set(classes) ^ set(found)))
        raise DataError(f"expected the same classes in '{train}' and '{test}', got {different} in one only")
    return classes, _files(train, classes), _files(test, classes)


def _class_names(part: Path) -> tuple[str, ...]:
    if not part.is_dir():
        raise DataError(f"expected a folder 'train' in '{part.parent}', found none")
    names = tuple(sorted(entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith(".")))
    for name in names:
        if name != visible(name):
            raise DataError(f"expected names of classes in UTF-8 without control characters in '{part}', got {name!r}")
    if not names:
        raise DataError(f"expected one folder of images per class in '{part}', found none")
    return names


def _files(part: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """List the images of all classes in order of their paths, each with its class index."""
    files = [(path, label) for label, name in enumerate(classes) for path in images_in(part / name)]
    if not files:
        raise DataError(f"expected images in the folders of '{part}', found none")
    return files


def images_in(folder: Path) -> list[Path]:
    """List the images in a folder and below, in order of their paths, without hidden ones.

    Raises:
        OSError: If the folder cannot be read.
    """
    return sorted(
        file for file in files_below(folder) if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")
    )


def image_sizes(files: Sequence[tuple[Path, int]]) -> Iterator[tuple[int, int]]:
    """Yield the height and width of image files, read only as far as they are asked for."""
    return (image_size(path, str(path)) for path, _ in files)
