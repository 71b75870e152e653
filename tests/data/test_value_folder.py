from pathlib import Path

import pytest

from slimprune.data import Augmentation, StreamedData, load
from slimprune.data.data_files import data_files
from slimprune.errors import DataError

from .asserts import assert_equal_batches, random_image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, count in (("train", 4), ("test", 2)):
        folder = tmp_path / "angles" / part
        folder.mkdir(parents=True)
        for number in range(count):
            random_image(number).save(folder / f"{number}.png")
        rows = "".join(f"{number}.png,{number / 2},{-number}\n" for number in range(count))
        (folder / "metadata.csv").write_text("file_name,roll,pitch\n" + rows)
    return tmp_path / "angles"


def test_values(root: Path):
    data, streamed = load(f"folder:{root}"), load(f"folder:{root}", stream_above=0)
    assert (data.task, data.class_names, data.train_size) == ("regression", ("roll", "pitch"), 4)
    assert data.augmentation == Augmentation()
    ((_, targets),) = data.test_batches(2)
    assert targets.tolist() == [[0, 0], [0.5, -1]]
    assert isinstance(streamed, StreamedData)
    assert_equal_batches(streamed.train_batches(2, seed=1), data.train_batches(2, seed=1))
    assert len(data_files(f"folder:{root}")) == 2 + 6


def test_folders_of_classes_come_first(root: Path):
    for part in ("train", "test"):
        (root / part / "cat").mkdir()
        random_image(0).save(root / part / "cat" / "0.png")
    assert load(f"folder:{root}").task == "classification"


HEADER = "file_name,roll,pitch\n"
BROKEN = [
    ("train", HEADER + "0.png,1,x\n", "expected finite numbers in row 2 of '{file}', got 'x'"),
    ("train", HEADER + "0.png,1,nan\n", "expected finite numbers in row 2 of '{file}', got 'nan'"),
    ("train", HEADER + "0.png,1,1e39\n", "expected finite numbers in row 2 of '{file}', got '1e39'"),
    ("test", HEADER + "0.png,1\n", "expected 3 cells in row 2 of '{file}', got 2"),
    ("test", HEADER + "5.png,1,1\n", "as in '{file}', found none"),
    ("train", HEADER + "../train/0.png,1,1\n", "expected names of files below "),
    ("train", HEADER, "expected a row for each image in '{file}', found none"),
    ("train", "", "expected a column file_name and further ones, of numbers, in '{file}', got none"),
    ("train", "file,roll\n0.png,1\n", "in '{file}', got file, roll"),
    ("train", "file_name\n0.png\n", "in '{file}', got file_name"),
    ("test", "file_name,roll\n0.png,1\n", "in both tables metadata.csv of '{root}', got roll, pitch and roll"),
    ("test", None, "expected a readable table '{file}', got No such file"),
]


@pytest.mark.parametrize(("part", "text", "message"), BROKEN)
def test_what_is_refused(root: Path, part: str, text: str | None, message: str):
    file = root / part / "metadata.csv"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(DataError) as caught:
        load(f"folder:{root}")
    assert message.format(root=root, file=file) in str(caught.value)
    assert "\n" not in str(caught.value)
