"""Images with numbers: DIR/train/metadata.csv beside the images, and the same in DIR/val or DIR/test."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slimprune.bounded import read_bounded
from slimprune.data.decoding import choose_size, to_tensor
from slimprune.data.encoded_images import to_size
from slimprune.data.image_data import ImageData
from slimprune.data.image_listing import held_out_folder, image_sizes
from slimprune.data.streamed_data import hold_or_stream
from slimprune.errors import DataError, visible

TABLE, FILE_COLUMN = "metadata.csv", "file_name"
"""Name of the table, and of its column of file names, as in Hugging Face's folders of images."""

LARGEST_TABLE = 2**30
"""Most bytes of a table."""


@dataclass(frozen=True)
class ValuedFiles:
    """Image files with numbers.

    Attributes:
        paths: One file per sample.
        values: Numbers of each, float32 [N, K].
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
    """

    paths: tuple[Path, ...]
    values: Tensor
    size: int | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one image uint8 [3, H, W] with its numbers, float32 [K].

        Raises:
            DataError: If it cannot be read.
        """
        path = self.paths[index]
        return to_tensor(to_size(path, f"'{path}'", self.size)), self.values[index]


@dataclass(frozen=True)
class Table:
    """The numbers of one part.

    Attributes:
        names: Names of the columns of numbers.
        paths: Image of each row.
        values: Numbers of each row, float32 [N, K].
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    values: Tensor


def has_values(root: Path) -> bool:
    """Return whether the training part of a folder has a table of numbers, and no folders of classes."""
    train = root / "train"
    return (train / TABLE).is_file() and not any(entry.is_dir() for entry in train.iterdir())


def load_value_folder(name: str, root: Path, image_size: int | None, stream_above: int) -> ImageData:
    """Load images with numbers for a regression; training images stay as they are.

    Args:
        name: Name of the set in reports.
        root: The folder.
        image_size: Side in pixels that images are resized and cropped to; by default 224 if they need resizing.
        stream_above: Decoded size in bytes above which files are decoded each time they are read.

    Raises:
        DataError: If a table or an image is missing or cannot be read, or a cell is no finite number.
    """
    train, test = parts_with_values(root)
    size = choose_size(image_sizes((*train.paths, *test.paths)), image_size, keep_large=False)
    training, testing = (ValuedFiles(part.paths, part.values, size) for part in (train, test))
    return hold_or_stream(name, training, testing, train.names, stream_above, task="regression")


def parts_with_values(root: Path) -> tuple[Table, Table]:
    """Read the tables of the training and of the test part.

    Raises:
        DataError: If one cannot be read, has other columns than the other, or has a cell that is no finite number.
    """
    train, test = (_read(part) for part in (root / "train", held_out_folder(root)))
    if train.names != test.names:
        listed = " and ".join(", ".join(part.names) for part in (train, test))
        raise DataError(f"expected the same columns in both tables {TABLE} of '{root}', got {listed}")
    return train, test


def _read(part: Path) -> Table:
    file = part / TABLE
    try:
        rows = list(csv.reader(io.StringIO(read_bounded(file, LARGEST_TABLE).decode("utf-8-sig"))))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"expected a readable table '{file}', got {reason}") from error
    header, rows = (rows[0], [row for row in rows[1:] if row]) if rows else ([], [])
    names = tuple(name for name in header if name != FILE_COLUMN)
    if (
        header.count(FILE_COLUMN) != 1
        or not names
        or len(set(names)) < len(names)
        or names != tuple(map(visible, names))
    ):
        found = visible(", ".join(header))[:200] or "none"
        raise DataError(f"expected a column {FILE_COLUMN} and further ones, of numbers, in '{file}', got {found}")
    if not rows:
        raise DataError(f"expected a row for each image in '{file}', found none")
    place = header.index(FILE_COLUMN)
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"expected {len(header)} cells in row {line} of '{file}', got {len(row)}")
    values = [
        [_number(cell, file, line) for column, cell in enumerate(row) if column != place]
        for line, row in enumerate(rows, start=2)
    ]
    return Table(names, tuple(_image(part, row[place]) for row in rows), torch.tensor(values))


def _number(cell: str, file: Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not abs(value) <= torch.finfo(torch.float32).max:  # nan is no number either
        raise DataError(f"expected finite numbers in row {line} of '{file}', got {visible(cell)[:80]!r}")
    return value


def _image(part: Path, name: str) -> Path:
    """Return the path of an image, which must be below its folder."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or name != visible(name):
        raise DataError(f"expected names of files below '{part}' in its {TABLE}, got {visible(name)[:80]!r}")
    if not (part / path).is_file():
        raise DataError(f"expected an image '{part / path}', as in '{part / TABLE}', found none")
    return part / path
