"""Rows of parquet files, read by their row groups without a converted copy.

A row group is the least that can be read of a parquet file, so single rows in a random order would cost a row group
each. `shuffled` is an order that reads few of them at a time: row groups in random order, and the rows of about
`WINDOW` bytes of them mixed. Unlike a stream with a shuffle buffer it is a permutation that is known in advance, which
ranks and workers divide exactly and which can be entered at any batch.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from slimprune.errors import DataError, first_line

WINDOW = 64 * 1024**2
"""Encoded bytes of the row groups whose rows are mixed."""


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """The rows of parquet files, with as much of a `datasets.Dataset` as is needed to read them.

    Attributes:
        files: The files.
        features: `datasets.Features` of the files.
        groups: File, number in that file, rows and encoded bytes of every row group, int64 [G, 4].
        names: Columns that are read.
    """

    files: tuple[Path, ...]
    features: Any
    groups: Tensor
    names: tuple[str, ...]
    _held: "OrderedDict[int, Any]" = field(default_factory=OrderedDict, init=False, repr=False)

    @classmethod
    def of(cls, files: Sequence[Path]) -> Self:
        """Return the rows of files, whose columns must be the same.

        Raises:
            DataError: If a file cannot be read, or its columns differ from those of the first.
        """
        from datasets import Features

        found, groups = [_metadata(path) for path in files], []
        features = [Features.from_arrow_schema(metadata.schema.to_arrow_schema()) for metadata in found]
        for number, (path, metadata) in enumerate(zip(files, found, strict=True)):
            if features[number] != features[0]:
                raise DataError(f"expected the columns of '{files[0]}' in '{path}', got others")
            own = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            groups += [(number, place, group.num_rows, group.total_byte_size) for place, group in enumerate(own)]
        return cls(
            tuple(files), features[0], torch.tensor(groups, dtype=torch.int64).reshape(-1, 4), tuple(features[0])
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a row; its row group is held for those that follow.

        Raises:
            IndexError: If there is no such row.
            DataError: If the file cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"expected a row below {len(self)}, got {index}")
        number = int(torch.searchsorted(self._ends, index, right=True))
        table, row = self._group(number), index - int(self._ends[number] - self.groups[number, 2])
        return {name: table.column(name)[row].as_py() for name in self.names}

    @cached_property
    def _ends(self) -> Tensor:
        """Number of rows up to the end of each row group, int64 [G]."""
        return self.groups[:, 2].cumsum(0)

    def select_columns(self, names: str | Sequence[str]) -> Self:
        """Return the same rows with only these columns."""
        return replace(self, names=(names,) if isinstance(names, str) else tuple(names))

    def cast_column(self, name: str, feature: object) -> Self:
        """Return the rows, whose images are encoded anyway."""
        return self

    def unique(self, name: str) -> list[Any]:
        """Return the distinct values of a column."""
        found = (_table(path, None, (name,)).column(name).unique().to_pylist() for path in self.files)
        return list(dict.fromkeys(value for values in found for value in values))

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return a random order of all rows that mixes those of few row groups at a time, int64 [N]."""
        order = torch.randperm(len(self.groups), generator=generator)
        sizes = self.groups[order, 3]
        window = torch.empty_like(order)
        window[order] = (sizes.cumsum(0) - sizes) // WINDOW
        rows = torch.randperm(len(self), generator=generator)
        return rows[window.repeat_interleave(self.groups[:, 2])[rows].argsort(stable=True)]

    def _group(self, number: int) -> Any:
        """Return a row group, and let go of others as soon as those held exceed two windows."""
        if number not in self._held:
            file, place = self.groups[number, :2].tolist()
            self._held[number] = _table(self.files[file], place, self.names)
        self._held.move_to_end(number)
        while len(self._held) > 1 and sum(int(self.groups[held, 3]) for held in self._held) > 2 * WINDOW:
            self._held.popitem(last=False)
        return self._held[number]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is held, which each process reads for itself."""
        return {**self.__dict__, "_held": OrderedDict()}


def _metadata(path: Path) -> Any:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        return read_metadata(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"expected a readable parquet file '{path}', got {first_line(error)}") from error


def _table(path: Path, group: int | None, names: Sequence[str]) -> Any:
    """Read columns of a row group, or of the whole file."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, pre_buffer=False) as file:  # without threads, which a forked worker does not have
            if group is None:
                return file.read(columns=list(names), use_threads=False)
            return file.read_row_group(group, columns=list(names), use_threads=False)
    except (ArrowException, OSError) as error:
        raise DataError(f"expected to read '{path}', got {first_line(error)}") from error
