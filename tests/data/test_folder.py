import shutil
from pathlib import Path

import pytest

from slimprune.data import Batch, ImageData, StreamedData, TensorData
from slimprune.data.folder import load_folder
from slimprune.errors import DataError

from .asserts import assert_describes_itself, assert_equal_batches, random_image, write_image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes; three training and two test images of 8x8 pixels each."""
    folder = tmp_path / "pets"
    for part, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                path = folder / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                random_image(100 * label + number).save(path)
    return folder


def test_small_images_keep_their_size(root: Path):
    data = load_folder("pets", str(root))
    assert_describes_itself(data)
    assert isinstance(data, TensorData)
    assert (data.height, data.width, data.class_names) == (8, 8, ("cat", "dog"))
    assert (data.train_size, data.test_size) == (6, 4)
    assert data.parts["train"][1].tolist() == [0, 0, 0, 1, 1, 1]


def test_large_data_is_streamed_alike(root: Path):
    held, streamed = load_folder("pets", str(root)), load_folder("pets", str(root), stream_above=0)
    assert isinstance(streamed, StreamedData)
    assert_equal_batches(streamed.train_batches(2, seed=1), held.train_batches(2, seed=1))


def test_unlike_sizes_become_squares(root: Path):
    write_image(root / "train/cat/wide.png", size=(40, 20))
    data = load_folder("pets", str(root))
    assert (data.height, data.width) == (224, 224)
    data = load_folder("pets", str(root), image_size=16)
    assert (data.height, data.width) == (16, 16)
    assert_describes_itself(data)


def test_a_wanted_size_is_taken(root: Path):
    assert load_folder("pets", str(root), image_size=12).height == 12


def test_grey_palette_and_transparent_images(root: Path):
    write_image(root / "train/cat/grey.png", 9, mode="L")
    write_image(root / "train/cat/palette.gif", 1, mode="P")
    write_image(root / "train/cat/clear.png", (1, 2, 3, 0), mode="RGBA")
    data = load_folder("pets", str(root))
    assert (data.train_size, data.channels) == (9, 3)


def test_other_files_and_hidden_ones_are_passed_over(root: Path):
    (root / "train/cat/notes.txt").write_text("not an image")
    (root / "train/cat/._0.png").write_text("not an image either")
    (root / "train/.cache").mkdir()
    write_image(root / "train/cat/deeper/CAPITALS.PNG")
    assert load_folder("pets", str(root)).train_size == 7


def test_test_stands_in_for_val(root: Path):
    shutil.copytree(root / "val", root / "test")
    write_image(root / "test/cat/more.png")
    assert load_folder("pets", str(root)).test_size == 4
    shutil.rmtree(root / "val")
    assert load_folder("pets", str(root)).test_size == 5


def everything(data: ImageData) -> list[Batch]:
    return [*data.train_batches(2), *data.test_batches(2)]


@pytest.mark.parametrize("stream_above", [0, 10**9])
@pytest.mark.parametrize("part", ["train", "val"])
def test_corrupt_images_are_named(root: Path, part: str, stream_above: int):
    path = root / part / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(DataError) as caught:
        everything(load_folder("pets", str(root), stream_above=stream_above))
    assert str(caught.value).startswith(f"expected a readable image in {path}, got ")


def without(root: Path, *folders: str) -> None:
    for folder in folders:
        shutil.rmtree(root / folder)


def emptied(root: Path) -> None:
    for path in (root / "train").rglob("*.png"):
        path.unlink()


BROKEN = [
    (lambda root: shutil.rmtree(root), "expected a folder 'train' in '{root}', found none"),
    (lambda root: without(root, "train"), "expected a folder 'train' in '{root}', found none"),
    (lambda root: without(root, "val"), "expected a folder 'val' or 'test' in '{root}', found neither"),
    (
        lambda root: without(root, "train/cat", "train/dog"),
        "expected one folder of images per class in '{root}/train', found none",
    ),
    (emptied, "expected images in the folders of '{root}/train', found none"),
    (
        lambda root: (root / "val/dog").rename(root / "val/wolf"),
        "expected the same classes in '{root}/train' and '{root}/val', got dog, wolf in one only",
    ),
]


@pytest.mark.parametrize(("breaking", "message"), BROKEN)
def test_what_is_refused(root: Path, breaking, message: str):
    breaking(root)
    with pytest.raises(DataError) as caught:
        load_folder("pets", str(root))
    assert str(caught.value) == message.format(root=root)
