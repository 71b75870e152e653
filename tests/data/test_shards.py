"""Shards in the layout of WebDataset: what is read, how ranks and workers divide it, and what is refused."""

import io
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slimprune.data import TensorData, data_files, load
from slimprune.data.decoding import to_tensor
from slimprune.data.streamed_data import StreamedData
from slimprune.errors import DataError
from slimprune.ranks.group import Ranks

from .asserts import assert_describes_itself, random_image


def encoded(seed: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    random_image(seed).save(file, kind)
    return file.getvalue()


def shard(path: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    """Write a tar file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def sample(number: int, label: int, suffix: str = "png") -> list[tuple[str, bytes]]:
    return [(f"a/{number:04}.cls", str(label).encode()), (f"a/{number:04}.{suffix}", encoded(number))]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten training shards of four samples, whose labels are their numbers, and two test shards."""
    for number in range(10):
        files = [file for index in range(4) for file in sample(4 * number + index, 4 * number + index)]
        shard(tmp_path / f"train-{number:02}.tar", files)
    for number in range(2):
        shard(tmp_path / f"val-{number}.tar", [*sample(number, number), *sample(number + 2, number + 2)])
    return tmp_path


def test_both_parts_in_order(root: Path) -> None:
    data = load(f"webdataset:{root}")
    assert_describes_itself(data)
    assert isinstance(data, TensorData)
    assert data.parts["train"][1].tolist() == list(range(40))
    assert data.parts["test"][1].tolist() == [0, 2, 1, 3]
    image = to_tensor(random_image(7))
    assert torch.equal(data.parts["train"][0][7], image)
    assert data.class_names[39] == "39"


def test_class_names_of_a_file(root: Path) -> None:
    (root / "classes.txt").write_text("".join(f"class {number}\n" for number in range(40)))
    assert load(f"webdataset:{root}").class_names[3] == "class 3"
    assert {path.name for path in data_files(f"webdataset:{root}")} >= {"classes.txt", "train-00.tar", "val-1.tar"}


def test_ranks_and_workers_read_every_sample_once_an_epoch(root: Path) -> None:
    data = load(f"webdataset:{root}", stream_above=0)
    assert isinstance(data, StreamedData)
    seen: list[int] = []
    orders = []
    for epoch in (1, 2):
        labels: list[int] = []
        for index in range(2):
            batches = replace(data, workers=2).train_batches(8).shared(Ranks(index, 2))
            batches.set_epoch(epoch)
            own = [targets.tolist() for _, targets in batches]
            assert [len(batch) for batch in own] == [4] * 5
            labels += [label for batch in own for label in batch]
        assert Counter(labels) == Counter(range(40))
        orders.append(labels)
        seen += labels
    assert orders[0] != orders[1]
    assert Counter(seen) == dict.fromkeys(range(40), 2)


def test_the_share_of_a_rank_is_its_rows_of_the_whole_batches(root: Path) -> None:
    data = load(f"webdataset:{root}", stream_above=0)
    whole = list(data.train_batches(8))
    shares = [list(data.train_batches(8).shared(Ranks(index, 2))) for index in range(2)]
    for step, (images, targets) in enumerate(whole):
        assert torch.equal(torch.cat([share[step][0] for share in shares]), images)
        assert torch.equal(torch.cat([share[step][1] for share in shares]), targets)


GOOD = sample(0, 0)
DAMAGED: Mapping[str, tuple[Sequence[tuple[str, bytes]], str]] = {
    "no class": ([GOOD[1]], r"a class number \(.cls\) in sample 'a/0000'"),
    "no image": ([GOOD[0]], "expected one image"),
    "two images": ([*GOOD, ("a/0000.jpg", b"x")], "expected one image"),
    "two classes": ([GOOD[0], GOOD[0], GOOD[1]], "expected one .cls"),
    "a word for a class": ([("a/0000.cls", b"cat"), GOOD[1]], "a class number below 100,000"),
    "a class too many": ([("a/0000.cls", b"100000"), GOOD[1]], "a class number below 100,000"),
    "a long number": ([("a/0000.cls", b"1" * 50), GOOD[1]], "a class number below 100,000"),
    "no samples": ([], "expected samples"),
    "no image file": ([GOOD[0], ("a/0000.png", b"text")], "a/0000|byte"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_shards_are_refused(case: str, root: Path) -> None:
    files, message = DAMAGED[case]
    shard(root / "train-03.tar", files)
    with pytest.raises(DataError, match=message):
        load(f"webdataset:{root}")


def test_a_shard_that_ends_early(root: Path) -> None:
    path = root / "train-03.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"train-03.tar"):
        load(f"webdataset:{root}")


@pytest.mark.parametrize(("removed", "missing"), [("train", "train-"), ("val", "val-")])
def test_missing_parts(removed: str, missing: str, root: Path) -> None:
    for path in root.glob(f"{removed}-*.tar"):
        path.unlink()
    with pytest.raises(DataError, match=missing):
        load(f"webdataset:{root}")


def test_compressed_shards_are_refused(root: Path) -> None:
    (root / "train-03.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(DataError, match="without compression"):
        load(f"webdataset:{root}")
