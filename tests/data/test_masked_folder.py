import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slimprune.data import StreamedData, load
from slimprune.data.data_files import data_files
from slimprune.errors import DataError

from .asserts import assert_equal_batches, write_image


def write_part(folder: Path, count: int, classes: int, seed: int) -> None:
    """Images whose red channel is 10 times the class of each pixel; the first pixel is to be ignored."""
    drawn = np.random.default_rng(seed)
    for number in range(count):
        numbers = drawn.integers(0, classes, (8, 8)).astype(np.uint8)
        image = np.stack([10 * numbers] * 3, axis=2)
        numbers[0, 0] = 255
        for kind, pixels, suffix in (("images", image, ".bmp"), ("masks", numbers, ".png")):
            path = folder / kind / f"{number}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_part(tmp_path / "town" / "train", 4, 3, seed=0)
    write_part(tmp_path / "town" / "val", 2, 3, seed=1)
    return tmp_path / "town"


def test_classes_of_pixels(root: Path):
    data, streamed = load(f"folder:{root}"), load(f"folder:{root}", stream_above=0)
    assert (data.task, data.class_names, data.train_size, data.test_size) == (
        "semantic-segmentation",
        ("0", "1", "2"),
        4,
        2,
    )
    for images, targets in (*data.train_batches(4), *data.test_batches(2)):
        seen = targets != 255
        assert (~seen).sum() == len(targets)
        assert torch.equal(data.pixels(images)[:, 0][seen], 10 * targets[seen])
    assert isinstance(streamed, StreamedData)
    assert_equal_batches(streamed.train_batches(2, seed=1), data.train_batches(2, seed=1))


def test_one_mask(root: Path):
    for part in ("train", "val"):
        for path in (root / part / "masks").iterdir():
            Image.fromarray(255 * (np.asarray(Image.open(path)) == 1).astype(np.uint8)).save(path)
    data = load(f"folder:{root}")
    assert (data.task, data.class_names) == ("segmentation", ("foreground",))
    ((images, targets),) = data.test_batches(2)
    seen = torch.ones(8, 8, dtype=torch.bool)
    seen[0, 0] = False  # to be ignored before
    assert torch.equal((data.pixels(images)[:, 0] == 10)[:, seen], (targets[:, 0] == 1)[:, seen])


def test_names_of_classes_tell_how_many_there_are(root: Path):
    (root / "classes.txt").write_text("road\ncar\nsky\nbird\n")
    data = load(f"folder:{root}")
    assert data.class_names == ("road", "car", "sky", "bird")
    assert root / "classes.txt" in data_files(f"folder:{root}")
    assert len(data_files(f"folder:{root}")) == 2 * (4 + 2) + 1


def test_other_sizes_become_squares(root: Path):
    write_image(root / "train/images/more.png", size=(20, 10))
    write_image(root / "train/masks/more.png", 1, size=(20, 10), mode="L")
    data = load(f"folder:{root}", image_size=6)
    assert data.parts["train"][1].shape == (5, 1, 6, 6)


def wrong_test_class(root: Path) -> None:
    Image.new("L", (8, 8), 7).save(root / "val/masks/1.png")


BROKEN = [
    (
        lambda root: (root / "train/masks/0.png").unlink(),
        "called like '{root}/train/images/0.bmp' in '{root}/train/masks'",
    ),
    (lambda root: (root / "val/images/1.bmp").unlink(), "called like '{root}/val/masks/1.png' in '{root}/val/images'"),
    (lambda root: shutil.rmtree(root / "val"), "expected a folder 'val' or 'test' in '{root}', found neither"),
    (
        lambda root: [path.unlink() for kind in ("images", "masks") for path in (root / "train" / kind).iterdir()],
        "expected images in '{root}/train/images', found none",
    ),
    (lambda root: write_image(root / "train/images/0.png"), "different names but for the suffix, got "),
    (wrong_test_class, "expected classes below 3, or 255 to ignore, in '{root}/val/masks/1.png', got 7"),
    (
        lambda root: write_image(root / "train/masks/0.png", 1, size=(4, 8), mode="L"),
        "mask and image of one size (width x height) in '{root}/train/masks/0.png', got 4x8 and 8x8",
    ),
    (
        lambda root: write_image(root / "train/masks/0.png", (128, 0, 0)),
        "in '{root}/train/masks/0.png', got the colour (128, 0, 0): save grey images with the number of each colour",
    ),
    (
        lambda root: (root / "train/masks/0.png").write_bytes(b"x"),
        "expected a readable image in '{root}/train/masks/0.png'",
    ),
    (lambda root: (root / "classes.txt").write_text("a\na\n"), "a different name of a class in each line of"),
    (lambda root: (root / "classes.txt").write_text("a\nb\n"), "expected classes below 2, or 255 to ignore, in "),
    (
        lambda root: (root / "classes.txt").write_text("a\n"),
        "expected masks of 0 and 1, or of 0 and 255 in '{root}/train/masks'",
    ),
    (
        lambda root: (root / "classes.txt").write_bytes(b"\xff"),
        "expected a name of a class in each line of '{root}/classes.txt'",
    ),
]


@pytest.mark.parametrize("stream_above", [0, 10**9])
@pytest.mark.parametrize(("breaking", "message"), BROKEN)
def test_what_is_refused(root: Path, breaking, message: str, stream_above: int):
    breaking(root)
    with pytest.raises(DataError) as caught:
        load(f"folder:{root}", stream_above=stream_above)
    assert message.format(root=root) in str(caught.value)
    assert "\n" not in str(caught.value)
