"""Images in folders: DIR/train/CLASS/* and DIR/val/CLASS/* (or DIR/test/CLASS/*), and those with masks or numbers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slimprune.data.decoding import choose_size
from slimprune.data.encoded_images import EncodedImages
from slimprune.data.image_data import ImageData
from slimprune.data.image_listing import held_out_folder, image_sizes, images_in, reading_folders
from slimprune.data.masked_folder import CLASSES, has_masks, load_masked_folder, parts_with_masks
from slimprune.data.streamed_data import STREAM_ABOVE, hold_or_stream
from slimprune.data.value_folder import TABLE, has_values, load_value_folder, parts_with_values
from slimprune.errors import DataError, visible


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
    """Load a folder of images: of each class, with masks (`load_masked_folder`) or with numbers (`load_value_folder`).

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
    with reading_folders():
        masks, values = has_masks(root), has_values(root)
    if masks:
        return load_masked_folder(name, root, image_size, stream_above)
    if values:
        return load_value_folder(name, root, image_size, stream_above)
    classes, train_files, test_files = _listed(root)
    size = choose_size(image_sizes(path for path, _ in (*train_files, *test_files)), image_size, keep_large=False)
    return hold_or_stream(
        name, FileSamples.of(train_files, size), FileSamples.of(test_files, size), classes, stream_above
    )


def image_files(root: Path) -> list[Path]:
    """List the images of both parts of a folder, and the files with their masks or numbers.

    Raises:
        DataError: If a part or all images are missing, or the parts' classes differ.
    """
    if has_masks(root):
        pairs = [file for part in parts_with_masks(root) for pair in part for file in pair]
        return [*pairs, *filter(Path.is_file, [root / CLASSES])]
    if has_values(root):
        tables = [root / "train" / TABLE, held_out_folder(root) / TABLE]
        return [*tables, *(path for part in parts_with_values(root) for path in part.paths)]
    _, train_files, test_files = _listed(root)
    return [path for path, _ in (*train_files, *test_files)]


def _listed(root: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Return the classes and the files of both parts."""
    with reading_folders():
        return _checked(root)


def _checked(root: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]], list[tuple[Path, int]]]:
    train = root / "train"
    classes = _class_names(train)
    test = held_out_folder(root)
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
