"""Segmentation: one mask, or the class of every pixel."""

from collections.abc import Sequence
from typing import Any

from slimprune.errors import UnsupportedModelError
from slimprune.tasks.registry import register
from slimprune.tasks.task import Task
from slimprune.training.losses import binary_cross_entropy, cross_entropy_and_dice, pixel_cross_entropy, soft_dice
from slimprune.training.masks import check_classes
from slimprune.training.metrics import class_iou, mean_iou


def _one_or_two_masks(classes: int, height: int, width: int) -> Sequence[tuple[int, ...]]:
    """Return one logit for the foreground, or two logits for background and foreground."""
    return [(classes, height, width), (2, height, width)]


def _one_mask_per_class(classes: int, height: int, width: int) -> Sequence[tuple[int, ...]]:
    return [(classes, height, width)]


def _check_class_map(output: Any, target: Any) -> None:
    try:
        check_classes(output, target)
    except AttributeError as error:
        kinds = f"{type(output).__name__} and {type(target).__name__}"
        raise UnsupportedModelError(f"expected an output and masks of one tensor each, got {kinds}") from error


register(
    Task(
        "segmentation",
        "one mask: binary cross-entropy and dice; mean IoU of background and foreground",
        {"bce": binary_cross_entropy, "dice": soft_dice, "bce+dice": cross_entropy_and_dice},
        {"miou": mean_iou},
        reads="mask",
        shapes=_one_or_two_masks,
        dense=True,
    )
)
register(
    Task(
        "semantic-segmentation",
        "the class of every pixel, 255 or -100 to ignore it: cross-entropy; mean IoU of the classes",
        {"cross-entropy": pixel_cross_entropy},
        {"miou": class_iou},
        reads="class map",
        check=_check_class_map,
        shapes=_one_mask_per_class,
        dense=True,
    )
)
