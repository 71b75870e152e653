"""Decoding of the rows of a Hugging Face table into 8-bit tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from slimprune.data.decoding import check_same_size, squared, to_tensor
from slimprune.data.encoded_images import EncodedImages
from slimprune.data.random_order import random_order
from slimprune.errors import DataError
from slimprune.preprocessing import Encoded, image_size, read_grey, read_rgb

MASK_THRESHOLD = 127


@dataclass(frozen=True)
class Columns:
    """Columns of a table that hold the images and targets.

    Attributes:
        image: Name of the image column.
        target: Name of the column of labels or masks.
        masks: Whether the target is a mask.
        labels: Class index of each value in the label column; empty for masks.
        class_names: One name per class index; the mask column's name for masks.
    """

    image: str
    target: str
    masks: bool
    labels: dict[int, int]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class RowSamples(EncodedImages):
    """Rows of a table, decoded one by one.

    Attributes:
        rows: A `datasets.Dataset` whose images are left encoded.
        split: Name of the split in error messages.
        columns: Columns to read.
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
        zero_one: Whether masks hold 0 and 1 instead of 0 and 255.
    """

    rows: Any
    split: str
    columns: Columns
    size: int | None = None
    zero_one: bool = False

    @property
    def labelled(self) -> bool:
        """Whether targets are labels."""
        return not self.columns.masks

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one row into an image uint8 [3, H, W] and a label int64 [] or mask uint8 [1, H, W].

        Raises:
            DataError: If the image, the label or the mask cannot be read.
        """
        if not self.columns.masks:
            return super().__getitem__(index)
        row, where = self.rows[index], self._where(index, self.columns.image)
        image = read_rgb(_encoded(row[self.columns.image], where), where)
        mask = self._mask(row[self.columns.target], index, image.size)
        return to_tensor(squared(image, self.size, Image.Resampling.BILINEAR)), mask

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return a random order of the rows that can be read in it, int64 [N]."""
        return random_order(self.rows, generator)

    def encoded(self, index: int) -> tuple[Encoded, str, int]:
        """Return the file of an image, its row in words, and its class index."""
        row, where = self.rows[index], self._where(index, self.columns.image)
        return _encoded(row[self.columns.image], where), where, self._label(row[self.columns.target], index)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Yield height and width of every image.

        Raises:
            DataError: If an image cannot be read.
        """
        for index, row in enumerate(self.rows.select_columns(self.columns.image)):
            where = self._where(index, self.columns.image)
            yield image_size(_encoded(row[self.columns.image], where), where)

    def brightest_mask_value(self, count: int) -> int:
        """Return the largest value, 0..255, in the first `count` masks; read more masks while all of them are empty."""
        brightest = 0
        for index in range(len(self)):
            if index >= count and brightest > 0:
                break
            where = self._where(index, self.columns.target)
            mask = read_grey(_encoded(self.rows[index][self.columns.target], where), where)
            brightest = max(brightest, int(to_tensor(mask).max()))
        return brightest

    def _label(self, value: int, index: int) -> int:
        if value not in self.columns.labels:
            raise DataError(f"expected a known label in {self._where(index, self.columns.target)}, got {value}")
        return self.columns.labels[value]

    def _mask(self, value: object, index: int, image: tuple[int, int]) -> Tensor:
        where = self._where(index, self.columns.target)
        mask = read_grey(_encoded(value, where), where)
        check_same_size(mask, image, where)
        pixels = to_tensor(squared(mask, self.size, Image.Resampling.NEAREST))
        if not self.zero_one:
            return (pixels > MASK_THRESHOLD).to(torch.uint8)
        if int(pixels.max()) > 1:
            raise DataError(f"expected a mask of 0 and 1, as others of its set, in {where}, got {int(pixels.max())}")
        return pixels

    def _where(self, index: int, column: str) -> str:
        return f"row {index} of {self.split}, column {column!r}"


def _encoded(value: object, where: str) -> Encoded:
    """Extract the file from a cell {"bytes": ..., "path": ...}, either of which may be None."""
    if isinstance(value, dict) and value.get("bytes"):
        return bytes(value["bytes"])
    if isinstance(value, dict) and value.get("path"):
        return Path(value["path"])
    raise DataError(f"expected an image in {where}, found none")
