from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slimprune.data import Augmentation
from slimprune.data.tensors import load_tensors
from slimprune.errors import DataError, UsageError

from .asserts import assert_describes_itself

IMAGES = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
MASKS = torch.randint(0, 2, (6, 1, 8, 8), dtype=torch.uint8)


def write(folder: Path, train: dict[str, torch.Tensor], test: dict[str, torch.Tensor] | None = None) -> str:
    save_file(train, folder / "train.safetensors")
    save_file(train if test is None else test, folder / "test.safetensors")
    return str(folder)


def test_labels(tmp_path: Path):
    data = load_tensors("it", write(tmp_path, {"images": IMAGES, "labels": LABELS}))
    assert_describes_itself(data)
    assert data.classes == 3
    assert data.augmentation == Augmentation(crop_padding=4, flip=True)
    assert torch.equal(data.parts["train"][0], IMAGES)


@pytest.mark.parametrize("white", [1, 255])
def test_masks(tmp_path: Path, white: int):
    data = load_tensors("it", write(tmp_path, {"images": IMAGES, "masks": MASKS * white}))
    assert_describes_itself(data)
    assert data.task == "segmentation"
    assert torch.equal(data.parts["test"][1], MASKS)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            {"images": IMAGES},
            "expected images and labels, masks, values, classes, targets or boxes in '{file}', got images",
        ),
        (
            {"labels": LABELS},
            "expected images and labels, masks, values, classes, targets or boxes in '{file}', got labels",
        ),
        (
            {"images": IMAGES, "labels": LABELS, "masks": MASKS},
            "expected images and labels, masks, values, classes, targets or boxes in '{file}', got images, labels, "
            "masks",
        ),
        (
            {"images": IMAGES.float(), "labels": LABELS},
            "expected non-empty uint8 images [N, C, H, W] in '{file}', got float32 (6, 3, 8, 8)",
        ),
        ({"images": IMAGES, "labels": LABELS.int()}, "expected int64 labels [N] in '{file}', got int32 (6,)"),
        ({"images": IMAGES, "labels": LABELS - 1}, "expected labels of at least 0 in '{file}', got -1"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "expected 6 targets, one per image, in '{file}', got int64 (5,)"),
        ({"images": IMAGES, "masks": MASKS * 7}, "expected masks of 0 and 1 in '{file}', got 7"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_what_is_refused(tmp_path: Path, part: str, train: dict[str, torch.Tensor], message: str):
    right = {"images": IMAGES, "labels": LABELS}
    folder = write(tmp_path, train, right) if part == "train" else write(tmp_path, right, train)
    with pytest.raises(DataError) as caught:
        load_tensors("it", folder)
    assert str(caught.value) == message.format(file=tmp_path / f"{part}.safetensors")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            {"images": IMAGES[:, :1].contiguous(), "labels": LABELS},
            r"of one shape in .*, got \(3, 8, 8\) and \(1, 8, 8\)",
        ),
        ({"images": IMAGES, "masks": MASKS}, "expected labels or masks in both parts of "),
        ({"images": IMAGES, "labels": LABELS + 1}, r"expected labels below 3 in '.*test.safetensors', got 3"),
    ],
)
def test_parts_must_agree(tmp_path: Path, test: dict[str, torch.Tensor], message: str):
    with pytest.raises(DataError, match=message):
        load_tensors("it", write(tmp_path, {"images": IMAGES, "labels": LABELS}, test))


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"^expected a readable safetensors file '.*train.safetensors', got FileNotFound"
    ):
        load_tensors("it", str(tmp_path))
    folder = write(tmp_path, {"images": IMAGES, "labels": LABELS})
    (tmp_path / "test.safetensors").write_bytes((tmp_path / "train.safetensors").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"^expected a readable safetensors file '.*test.safetensors', got Safetensor"):
        load_tensors("it", folder)


def test_images_keep_their_size(tmp_path: Path):
    folder = write(tmp_path, {"images": IMAGES, "labels": LABELS})
    assert load_tensors("it", folder, image_size=8).height == 8
    with pytest.raises(UsageError, match="expected no image size for it, whose images are 8x8, got 16"):
        load_tensors("it", folder, image_size=16)
