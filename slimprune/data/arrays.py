"""Checks of the arrays that hold images and targets."""

import torch
from torch import Tensor

from slimprune.errors import DataError, UsageError

MOST_CLASSES = 100_000
"""Most classes; a larger label would build a head of that many outputs."""


def check_part(images: Tensor, targets: Tensor, where: str) -> None:
    """Check the images and targets of one part of a data set.

    Args:
        images: Expected to be uint8 [N, C, H, W].
        targets: Expected to be int64 labels [N] >= 0, or uint8 masks [N, 1, H, W] with values 0 and 1.
        where: Name of the data in error messages, for instance a file.

    Raises:
        DataError: If a shape, a type or a value is not as expected.
    """
    check_images(images, where)
    if targets.shape[:1] != images.shape[:1]:
        raise DataError(f"expected {len(images)} targets, one per image, in {where}, got {_kind(targets)}")
    if targets.ndim == 1:
        _check_labels(targets, where)
    else:
        _check_masks(targets, images, where)


def check_images(images: Tensor, where: str) -> None:
    """Check that images are uint8 [N, C, H, W] and not empty.

    Raises:
        DataError: If they are not.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
        raise DataError(f"expected non-empty uint8 images [N, C, H, W] in {where}, got {_kind(images)}")


def check_parts_agree(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], where: str) -> None:
    """Check that both parts have images of one shape and the same kind of target.

    Args:
        train: Images and targets of the training part.
        test: Images and targets of the test part.
        where: Name of the data in error messages.

    Raises:
        DataError: If the image shapes differ, or if one part has labels and the other masks.
    """
    shapes = [tuple(images.shape[1:]) for images, _ in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(f"expected train and test images of one shape in {where}, got {shapes[0]} and {shapes[1]}")
    if train[1].ndim != test[1].ndim:
        raise DataError(f"expected labels or masks in both parts of {where}, got labels in one and masks in the other")


def check_labels_named(labels: Tensor, classes: int, where: str) -> None:
    """Check that every label is below the number of classes.

    Raises:
        DataError: If a label is too large.
    """
    if int(labels.max()) >= classes:
        raise DataError(f"expected labels below {classes} in {where}, got {int(labels.max())}")


def check_image_size(name: str, found: tuple[int, int], wanted: int | None) -> None:
    """Check that a requested image size matches data whose size is fixed.

    Args:
        name: Name of the data set in error messages.
        found: Height and width of the images, in pixels.
        wanted: Side in pixels that the user requests; None accepts any size.

    Raises:
        UsageError: If the requested size differs from that of the images.
    """
    if wanted is not None and found != (wanted, wanted):
        raise UsageError(f"expected no image size for {name}, whose images are {found[0]}x{found[1]}, got {wanted}")


def _check_labels(labels: Tensor, where: str) -> None:
    if labels.dtype != torch.int64:
        raise DataError(f"expected int64 labels [N] in {where}, got {_kind(labels)}")
    if int(labels.min()) < 0:
        raise DataError(f"expected labels of at least 0 in {where}, got {int(labels.min())}")
    if int(labels.max()) >= MOST_CLASSES:
        raise DataError(f"expected labels below {MOST_CLASSES:,} in {where}, got {int(labels.max())}")


def _check_masks(masks: Tensor, images: Tensor, where: str) -> None:
    expected = (len(images), 1, *images.shape[2:])
    if masks.dtype != torch.uint8 or tuple(masks.shape) != expected:
        raise DataError(f"expected int64 labels [N] or uint8 masks {expected} in {where}, got {_kind(masks)}")
    if int(masks.max()) > 1:
        raise DataError(f"expected masks of 0 and 1 in {where}, got {int(masks.max())}")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
