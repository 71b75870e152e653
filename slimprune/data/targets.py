"""How the stored targets of each task become those of a batch, and what is checked of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.errors import DataError
from slimprune.types import TaskName

IGNORED_CLASS = 255
"""Stored class of pixels that count for nothing."""

FULL_SCALE = 255.0
"""Largest value of stored pixels."""

BOX_NUMBERS, NO_BOX = 5, -1
"""Numbers of a stored box, and the class of rows that hold none."""


@dataclass(frozen=True)
class TargetKind:
    """What the targets of a task are.

    Attributes:
        key: Name of the tensor in a file of tensors.
        prepared: Function of stored targets that returns those of a batch.
        moves: Whether targets are images that are moved together with their inputs.
        nearest: Whether resizing takes the nearest pixel of them.
        flips: Whether images may be flipped and shifted without a change of the target.
        mirrored: Function (stored targets, image width in pixels) that returns those of images whose left and right are
            exchanged; None if they stay the same or are images. Such images are only mirrored, not shifted or turned.
        raw: Whether images are not normalised, because networks for such targets do that themselves.
    """

    key: str
    prepared: Callable[[Tensor], Tensor] = lambda targets: targets
    moves: bool = False
    nearest: bool = True
    flips: bool = True
    mirrored: Callable[[Tensor, int], Tensor] | None = None
    raw: bool = False


def mirrored_boxes(targets: Tensor, width: int) -> Tensor:
    """Return the boxes [N, M, 5] of images of a width in pixels whose left and right are exchanged."""
    classes, left, top, right, bottom = targets.unbind(2)
    there = classes >= 0
    return torch.stack(
        [classes, torch.where(there, width - right, left), top, torch.where(there, width - left, right), bottom], 2
    )


def _class_map(targets: Tensor) -> Tensor:
    return targets[:, 0].long()


def _image(targets: Tensor) -> Tensor:
    return targets.float() / FULL_SCALE


KINDS: Mapping[TaskName, TargetKind] = {
    "classification": TargetKind("labels"),
    "segmentation": TargetKind("masks", Tensor.float, moves=True),
    "multi-label": TargetKind("labels", Tensor.float),
    "regression": TargetKind("values", flips=False),  # a position or an angle would change
    "semantic-segmentation": TargetKind("classes", _class_map, moves=True),
    "image-to-image": TargetKind("targets", _image, moves=True, nearest=False),
    "detection": TargetKind("boxes", mirrored=mirrored_boxes, raw=True),
}
"""Targets by task."""


def check_targets(task: TaskName, images: Tensor, targets: Tensor, where: str) -> None:
    """Check stored targets that are neither labels [N] nor one mask; see `arrays.check_part` for those.

    Args:
        task: A key of `KINDS`.
        images: Images, uint8 [N, C, H, W].
        targets: Labels that may occur together, uint8 [N, K] of 0 and 1; values, float32 [N, K]; classes of pixels,
            uint8 [N, 1, H, W] with 255 for pixels to ignore; images, uint8 [N, C, H, W]; or boxes, float32 [N, M, 5],
            each a class, or -1 for none, and x1, y1, x2, y2 in pixels.
        where: Name of the data in error messages.

    Raises:
        DataError: If a shape, a type or a value is not as described.
    """
    size = tuple(images.shape[2:])
    expected: Mapping[TaskName, tuple[torch.dtype, int, str]] = {
        "multi-label": (torch.uint8, 2, "labels [N, K]"),
        "regression": (torch.float32, 2, "values [N, K]"),
        "semantic-segmentation": (torch.uint8, 4, f"classes [N, 1, {size[0]}, {size[1]}]"),
        "image-to-image": (torch.uint8, 4, f"targets [N, C, {size[0]}, {size[1]}]"),
        "detection": (torch.float32, 3, "boxes [N, M, 5]"),
    }
    dtype, ndim, rule = expected[task]
    fits = targets.dtype == dtype and targets.ndim == ndim and len(targets) == len(images) and targets.shape[1] > 0
    if fits and ndim == 4:
        fits = tuple(targets.shape[2:]) == size and (task == "image-to-image" or targets.shape[1] == 1)
    if task == "detection":
        fits = fits and targets.shape[2] == BOX_NUMBERS
    if not fits:
        name = str(dtype).removeprefix("torch.")
        found = f"{str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}"
        raise DataError(f"expected {name} {rule} for {len(images)} images in {where}, got {found}")
    if task == "multi-label" and int(targets.max()) > 1:
        raise DataError(f"expected labels of 0 and 1 in {where}, got {int(targets.max())}")
    if task == "regression" and not bool(targets.isfinite().all()):
        raise DataError(f"expected finite values in {where}, got nan or inf")
    if task == "detection":
        _check_boxes(targets, size, where)


def _check_boxes(targets: Tensor, size: tuple[int, ...], where: str) -> None:
    """Check that every box has a class and an area inside its image of a size (height, width)."""
    found = targets[targets[:, :, 0] != NO_BOX]
    classes, left, top, right, bottom = found.unbind(1)
    inside = (left >= 0) & (left < right) & (right <= size[1]) & (top >= 0) & (top < bottom) & (bottom <= size[0])
    right_class = (classes >= 0) & (classes == classes.round())
    wrong = found[~(inside & right_class)]
    if len(wrong):
        numbers = ", ".join(f"{value:g}" for value in wrong[0].tolist())
        rule = f"expected boxes (class, x1, y1, x2, y2) with x1 < x2 and y1 < y2 inside images of {size[0]}x{size[1]}"
        raise DataError(f"{rule} in {where}, got {numbers}")


def number_of_outputs(task: TaskName, targets: Tensor) -> int:
    """Return how many labels, values, classes or channels the checked training targets have."""
    if task == "detection":
        return max(int(targets[:, :, 0].max()) + 1, 1)
    if task != "semantic-segmentation":
        return targets.shape[1]
    known = targets[targets != IGNORED_CLASS]
    return max(int(known.max()) + 1 if len(known) else 0, 2)


def check_box_classes(targets: Tensor, classes: int, where: str) -> None:
    """Check that every box has one of the classes.

    Raises:
        DataError: If a class is too large.
    """
    if int(targets[:, :, 0].max()) >= classes:
        raise DataError(f"expected classes below {classes} in {where}, got {int(targets[:, :, 0].max())}")


def check_class_maps(targets: Tensor, classes: int, where: str) -> None:
    """Check that every pixel has one of the classes, or is to be ignored.

    Raises:
        DataError: If a class is too large.
    """
    known = targets[targets != IGNORED_CLASS]
    if len(known) and int(known.max()) >= classes:
        raise DataError(f"expected classes below {classes}, or 255 to ignore, in {where}, got {int(known.max())}")
