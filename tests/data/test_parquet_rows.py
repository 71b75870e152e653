"""Parquet files that are read by their row groups."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from slimprune.data import ImageData, StreamedData, load, parquet_rows
from slimprune.data.parquet_rows import ParquetRows
from slimprune.errors import DataError
from slimprune.ranks.group import Ranks
from tests.data.asserts import assert_describes_itself, assert_equal_batches, random_image

datasets = pytest.importorskip("datasets")

ROWS, ROWS_OF_GROUP = 24, 3
FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}


def write(path: Path, first: int, features: dict[str, Any] = FEATURES) -> None:
    """Write rows from a number on, in row groups of three."""
    columns = {name: [index % 2 for index in range(ROWS)] for name in features}
    columns["image"] = [random_image(first + index, 12, 10) for index in range(ROWS)]
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(path), batch_size=ROWS_OF_GROUP)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of eight row groups for training, one for testing."""
    root = tmp_path_factory.mktemp("pets")
    for number in range(2):
        write(root / f"train-{number:05}-of-00002.parquet", 100 * number)
    write(root / "validation-00000-of-00001.parquet", 200)
    return root


@pytest.fixture
def two_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ParquetRows:
    """The rows for training, of which those of two row groups are mixed."""
    rows = ParquetRows.of(sorted(folder.glob("train*")))
    monkeypatch.setattr(parquet_rows, "WINDOW", 2 * int(rows.groups[:, 3].max()))
    return rows


def test_the_data_are_those_that_hugging_face_converts(folder: Path, cache: Path) -> None:
    found, converted = load(f"parquet:{folder}", image_size=8), load(f"hf:{folder}", image_size=8)
    assert_describes_itself(found)
    assert (found.train_size, found.class_names, found.mean) == (2 * ROWS, ("cat", "dog"), converted.mean)
    for part in ("train", "test"):
        assert_equal_batches(found.test_batches(5, part=part), converted.test_batches(5, part=part))  # type: ignore[arg-type]


def test_an_order_has_every_row_once_and_those_of_few_row_groups_together(two_groups: ParquetRows) -> None:
    orders = [two_groups.shuffled(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    for order in orders:
        assert order.sort().values.tolist() == list(range(2 * ROWS))
        opened = [len(set((part // ROWS_OF_GROUP).tolist())) for part in order.split(2 * ROWS_OF_GROUP)]
        assert max(opened) <= 4  # of 16: two windows, as their bytes are not exactly those of two row groups
        assert (order.diff().abs() != 1).any()


def test_few_row_groups_are_held_and_each_is_read_once(
    two_groups: ParquetRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, held, open_table = [], [], parquet_rows._table
    monkeypatch.setattr(parquet_rows, "_table", lambda *place: read.append(place[:2]) or open_table(*place))
    for index in two_groups.shuffled(torch.Generator().manual_seed(0)).tolist():
        assert two_groups[index]["label"] == index % 2
        held.append(len(two_groups._held))
    assert len(read) == len(set(read)) == 16
    assert max(held) <= 5
    with pytest.raises(IndexError):
        two_groups[2 * ROWS]


def batches(data: ImageData) -> Any:
    made = data.train_batches(6, seed=3)
    made.set_epoch(2)
    return made


def test_workers_and_ranks_divide_the_batches_of_one(two_groups: ParquetRows, folder: Path) -> None:
    data = cast(StreamedData, load(f"parquet:{folder}", image_size=8, stream_above=0))
    expected = list(batches(data))
    assert len(expected) == 8
    assert_equal_batches(batches(replace(data, workers=2)), expected)
    assert_equal_batches(batches(data).skipping(5), expected[5:])
    shares = (batches(data).shared(Ranks(index, 2)) for index in range(2))
    for (images, labels), *parts in zip(expected, *shares, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)
    fewer = data.with_fewer(30).store("train", torch.device("cpu"))
    assert sorted(fewer.shuffled(torch.Generator().manual_seed(0)).tolist()) == list(range(30))


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    def refused(line: str) -> None:
        with pytest.raises(DataError, match=line) as caught:
            load(f"parquet:{tmp_path}")
        assert "\n" not in str(caught.value)

    refused(r"expected parquet files train\*.parquet and test\*.parquet in .*, found none")
    write(tmp_path / "train.parquet", 0)
    refused("expected splits train and test .*, got train")
    write(tmp_path / "test" / "0000.parquet", 0, {**FEATURES, "more": datasets.Value("int64")})
    assert load(f"parquet:{tmp_path}").test_size == ROWS
    write(tmp_path / "train-1.parquet", 0, {**FEATURES, "more": datasets.Value("int64")})
    refused("expected the columns of '.*train-1.parquet' in '.*train.parquet', got others")
    (tmp_path / "train.parquet").write_text("not parquet")
    refused("expected a readable parquet file '.*train.parquet', got ")
    with pytest.raises(DataError, match=r"expected a folder that can be read, got .*absent: No such"):
        load(f"parquet:{tmp_path / 'absent'}")
