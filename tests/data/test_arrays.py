import pytest
import torch

from slimprune.data.arrays import check_image_size, check_labels_named, check_part, check_parts_agree
from slimprune.errors import DataError, UsageError

IMAGES = torch.zeros(4, 3, 6, 5, dtype=torch.uint8)
LABELS = torch.arange(4)
MASKS = torch.zeros(4, 1, 6, 5, dtype=torch.uint8)


def test_what_is_accepted():
    check_part(IMAGES, LABELS, "it")
    check_part(IMAGES, MASKS + 1, "it")
    check_parts_agree((IMAGES, LABELS), (IMAGES[:2], LABELS[:2]), "it")
    check_labels_named(LABELS, 4, "it")
    check_image_size("it", (6, 5), None)
    check_image_size("it", (6, 6), 6)


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (IMAGES.float(), LABELS, "expected non-empty uint8 images [N, C, H, W] in it, got float32 (4, 3, 6, 5)"),
        (IMAGES[0], LABELS, "expected non-empty uint8 images [N, C, H, W] in it, got uint8 (3, 6, 5)"),
        (IMAGES[:0], LABELS[:0], "expected non-empty uint8 images [N, C, H, W] in it, got uint8 (0, 3, 6, 5)"),
        (IMAGES, LABELS[:3], "expected 4 targets, one per image, in it, got int64 (3,)"),
        (IMAGES, torch.tensor(4), "expected 4 targets, one per image, in it, got int64 ()"),
        (IMAGES, LABELS.int(), "expected int64 labels [N] in it, got int32 (4,)"),
        (IMAGES, LABELS - 2, "expected labels of at least 0 in it, got -2"),
        (
            IMAGES,
            MASKS[:, 0],
            "expected int64 labels [N] or uint8 masks (4, 1, 6, 5) in it, got uint8 (4, 6, 5)",
        ),
        (
            IMAGES,
            MASKS.float(),
            "expected int64 labels [N] or uint8 masks (4, 1, 6, 5) in it, got float32 (4, 1, 6, 5)",
        ),
        (IMAGES, MASKS + 2, "expected masks of 0 and 1 in it, got 2"),
    ],
)
def test_what_is_refused(images: torch.Tensor, targets: torch.Tensor, message: str):
    with pytest.raises(DataError) as caught:
        check_part(images, targets, "it")
    assert str(caught.value) == message


def test_parts_must_agree():
    with pytest.raises(DataError, match=r"one shape in it, got \(3, 6, 5\) and \(1, 6, 5\)"):
        check_parts_agree((IMAGES, LABELS), (IMAGES[:, :1], LABELS), "it")
    with pytest.raises(DataError, match="expected labels or masks in both parts of it"):
        check_parts_agree((IMAGES, LABELS), (IMAGES, MASKS), "it")


def test_labels_must_be_named():
    with pytest.raises(DataError, match="expected labels below 3 in it, got 3"):
        check_labels_named(LABELS, 3, "it")


def test_fixed_sizes_stay():
    with pytest.raises(UsageError, match="expected no image size for it, whose images are 6x5, got 6"):
        check_image_size("it", (6, 5), 6)
