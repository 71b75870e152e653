"""Decoding of the rows of a Hugging Face table into 8-bit tensors."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from slimprune.data.decoding import to_tensor
from slimprune.data.encoded_images import EncodedImages, to_size
from slimprune.data.mask_forms import File, MaskForm, sample_of_files
from slimprune.data.random_order import random_order
from slimprune.errors import DataError
from slimprune.preprocessing import Encoded


@dataclass(frozen=True)
class Columns:
    """Columns of a table that hold the images and targets.

    Attributes:
        image: Name of the image column.
        targets: Name of the column of labels or masks, or names of the columns of values.
        kind: What the targets are.
        labels: Class index of each value in the label column; empty for others.
        class_names: One name per class index or column of values; for masks the column's name.
    """

    image: str
    targets: tuple[str, ...]
    kind: Literal["labels", "masks", "values"]
    labels: Mapping[int, int]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class RowSamples(EncodedImages):
    """Rows of a table, decoded one by one.

    Attributes:
        rows: A `datasets.Dataset` whose images are left encoded.
        split: Name of the split in error messages.
        columns: Columns to read.
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
        form: What the numbers in masks mean.
    """

    rows: Any
    split: str
    columns: Columns
    size: int | None = None
    form: MaskForm = field(default=MaskForm(1))

    @property
    def labelled(self) -> bool:
        """Whether targets are labels."""
        return self.columns.kind == "labels"

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one row into an image uint8 [3, H, W] and a label int64 [], mask uint8 [1, H, W] or values [K].

        Raises:
            DataError: If the image, the label, the mask or a value cannot be read.
        """
        if self.columns.kind == "labels":
            return super().__getitem__(index)
        row = self.rows[index]
        image = self._file(row, index, self.columns.image)
        if self.columns.kind == "masks":
            return sample_of_files(image, self._file(row, index, self.columns.targets[0]), self.form, self.size)
        return to_tensor(to_size(*image, self.size)), torch.tensor(
            [self._value(row[name], index, name) for name in self.columns.targets]
        )

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return a random order of the rows that can be read in it, int64 [N]."""
        return random_order(self.rows, generator)

    def encoded(self, index: int) -> tuple[Encoded, str, int]:
        """Return the file of an image, its row in words, and its class index."""
        row, label = self.rows[index], self.columns.targets[0]
        return *self._file(row, index, self.columns.image), self._label(row[label], index, label)

    def files_of(self, column: str) -> Iterator[File]:
        """Yield the file in a column of every row, with its name in error messages.

        Raises:
            DataError: If there is none.
        """
        return (self._file(row, index, column) for index, row in enumerate(self.rows.select_columns(column)))

    def _file(self, row: Mapping[str, Any], index: int, column: str) -> File:
        """Return the file in a cell {"bytes": ..., "path": ...}, either of which may be None, with a name in words."""
        value, where = row[column], self._where(index, column)
        if isinstance(value, dict) and value.get("bytes"):
            return bytes(value["bytes"]), where
        if isinstance(value, dict) and value.get("path"):
            return Path(value["path"]), where
        raise DataError(f"expected an image in {where}, found none")

    def _label(self, value: int, index: int, column: str) -> int:
        if value not in self.columns.labels:
            raise DataError(f"expected a known label in {self._where(index, column)}, got {value}")
        return self.columns.labels[value]

    def _value(self, value: float | None, index: int, column: str) -> float:
        if value is None or not math.isfinite(value):
            raise DataError(f"expected a finite number in {self._where(index, column)}, got {value}")
        return value

    def _where(self, index: int, column: str) -> str:
        return f"row {index} of {self.split}, column {column!r}"
