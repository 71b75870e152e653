"""Targets other than one label or one mask: as tensors in memory, in files, and as batches."""

import pytest
import torch
from safetensors.torch import save_file

import slimprune
from slimprune.data import load
from slimprune.errors import DataError, UsageError

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=GENERATOR)
MAPS = torch.randint(0, 4, (6, 1, 8, 8), dtype=torch.uint8, generator=GENERATOR)
MAPS[:, :, 0, 0], MAPS[0, 0, 1, 1] = 255, 3
LABELS = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0], [1, 1], [0, 1]], dtype=torch.uint8)
VALUES = torch.arange(6.0)


def saved(folder, **targets):
    for part in ("train", "test"):
        save_file({"images": IMAGES, **targets}, folder / f"{part}.safetensors")
    return f"tensors:{folder}"


@pytest.mark.parametrize(
    ("targets", "task", "names", "batch"),
    [
        ({"classes": MAPS}, "semantic-segmentation", ("0", "1", "2", "3"), MAPS[:, 0].long()),
        ({"labels": LABELS}, "multi-label", ("0", "1"), LABELS.float()),
        ({"values": VALUES}, "regression", ("0",), VALUES[:, None]),
        ({"values": torch.stack([VALUES, VALUES], 1)}, "regression", ("0", "1"), torch.stack([VALUES, VALUES], 1)),
        ({"targets": IMAGES[:, :1].clone()}, "image-to-image", ("0",), IMAGES[:, :1] / 255),
    ],
)
def test_the_key_in_the_file_says_what_the_targets_are(tmp_path, targets, task, names, batch):
    data = load(saved(tmp_path, **targets))
    assert (data.task, data.class_names) == (task, names)
    _, found = next(iter(data.test_batches(6)))
    assert found.dtype == batch.dtype
    torch.testing.assert_close(found, batch)


@pytest.mark.parametrize("task", ["semantic-segmentation", "image-to-image"])
def test_targets_that_are_images_move_with_their_inputs(task):
    # The target is the input's first channel, so that both stay equal wherever they go.
    images = IMAGES.clone()
    images[:, 0] //= 64
    stored = images[:, :1].clone()
    augmentation = slimprune.load_data("digits").augmentation.__class__(flip=True, turn=True)
    data = slimprune.TensorData.from_arrays("own", images, stored, images, stored, augmentation=augmentation, task=task)
    moved = 0
    for epoch in range(3):
        batches = data.train_batches(6, seed=epoch)
        inputs, targets = next(iter(batches))
        pixels = data.pixels(inputs)[:, 0]
        expected = pixels.long() if task == "semantic-segmentation" else pixels[:, None] / 255
        torch.testing.assert_close(targets, expected)
        moved += not torch.equal(inputs, next(iter(data.train_batches(6, seed=epoch, augment=False)))[0])
    assert moved == 3


def test_values_keep_their_images_as_they_are(tmp_path):
    data = load(saved(tmp_path, values=VALUES))
    assert data.augmentation == data.augmentation.__class__()
    for images, values in data.train_batches(6):
        torch.testing.assert_close(data.pixels(images), IMAGES[values[:, 0].long()])


def test_classes_of_pixels_are_counted_without_those_to_ignore(tmp_path):
    counts = load(saved(tmp_path, classes=MAPS)).class_counts()
    assert counts.tolist() == [int((number == MAPS).sum()) for number in range(4)]
    with pytest.raises(UsageError, match=r"expected labels or masks to count, got .* for regression"):
        load(saved(tmp_path, values=VALUES)).class_counts()


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        ({"classes": MAPS[:, :, :4].contiguous()}, r"classes \[N, 1, 8, 8\] .* got uint8 \(6, 1, 4, 8\)"),
        ({"classes": IMAGES.clone()}, r"got uint8 \(6, 3, 8, 8\)"),
        ({"labels": 2 * LABELS}, "labels of 0 and 1 in .* got 2"),
        ({"values": VALUES / 0}, "finite values"),
        ({"values": VALUES.long()}, "expected float32 values"),
        ({"targets": IMAGES.float()}, r"uint8 targets \[N, C, 8, 8\]"),
        (
            {"polygons": VALUES},
            r"labels, masks, values, classes, targets or boxes in .* got images, polygons",
        ),
    ],
)
def test_what_is_not_as_described_is_refused(tmp_path, targets, found):
    with pytest.raises(DataError, match=found):
        load(saved(tmp_path, **targets))


def test_parts_have_targets_of_one_task_and_test_classes_are_known(tmp_path):
    saved(tmp_path, classes=MAPS)
    save_file({"images": IMAGES, "targets": MAPS}, tmp_path / "test.safetensors")
    with pytest.raises(DataError, match=r"for semantic-segmentation in .* got those for image-to-image"):
        load(f"tensors:{tmp_path}")
    save_file({"images": IMAGES, "classes": MAPS.clamp(max=4) + 3}, tmp_path / "test.safetensors")
    with pytest.raises(DataError, match=r"expected classes below 4, or 255 to ignore, in .* got 7"):
        load(f"tensors:{tmp_path}")


def test_the_columns_of_both_parts_agree(tmp_path):
    saved(tmp_path, values=torch.stack([VALUES, VALUES], 1))
    save_file({"images": IMAGES, "values": VALUES}, tmp_path / "test.safetensors")
    with pytest.raises(DataError, match=r"expected 2 columns or channels of targets in .* got 1"):
        load(f"tensors:{tmp_path}")
