"""Conversion of segmentation outputs and masks from their usual shapes to one."""

import torch
from torch import Tensor

from slimprune.errors import DataError, UnsupportedModelError

IGNORED = -100
"""Class of pixels that count neither for the loss nor for the metric."""

VOID = 255
"""The same in mask files, which hold bytes; a class of its own only where there are more than 255 classes."""


def foreground_logits(output: Tensor, target: Tensor) -> Tensor:
    """Return one logit per pixel, of foreground against background: [N, H, W].

    Args:
        output: Logits [N, 1, H, W] or [N, H, W], or [N, 2, H, W] of background and foreground, whose difference is the
            logit of the foreground under softmax.
        target: Masks [N, 1, H, W] or [N, H, W].

    Raises:
        UnsupportedModelError: If the output has another shape, or output and mask differ in size.
    """
    if output.ndim == 3:
        logits = output
    elif output.ndim == 4 and output.shape[1] == 1:
        logits = output[:, 0]
    elif output.ndim == 4 and output.shape[1] == 2:
        logits = output[:, 1] - output[:, 0]
    else:
        found = f"{list(output.shape)}"
        raise UnsupportedModelError(f"expected logits [N, 1 or 2, H, W] or [N, H, W] beside masks, got {found}")
    if logits.shape != plain_mask(target).shape:
        found = f"{list(output.shape)} and {list(target.shape)}"
        raise UnsupportedModelError(f"expected output and mask of one size, got {found}")
    return logits


def plain_mask(target: Tensor) -> Tensor:
    """Return masks [N, 1, H, W] or [N, H, W] as [N, H, W]."""
    return target[:, 0] if target.ndim == 4 else target


def class_map(output: Tensor, target: Tensor) -> Tensor:
    """Return the classes of pixels, int64 [N, H, W], with `IGNORED` for -100 and, beside at most 255 classes, for 255.

    Args:
        output: Logits [N, K, H, W].
        target: Integers [N, H, W] or [N, 1, H, W].

    Raises:
        UnsupportedModelError: If the output has another shape, or output and masks differ in size.
        DataError: If the targets are no integers, or one is outside 0 ... K - 1.
    """
    if output.ndim != 4 or output.shape[1] < 2:
        raise UnsupportedModelError(f"expected logits [N, K, H, W] of two or more classes, got {list(output.shape)}")
    if target.is_floating_point() or target.dtype == torch.bool:
        raise DataError(f"expected masks of class numbers, got {target.dtype}")
    plain, classes = plain_mask(target).long(), output.shape[1]
    if plain.shape != (len(output), *output.shape[2:]):
        found = f"{list(output.shape)} and {list(target.shape)}"
        raise UnsupportedModelError(f"expected output and mask of one size, got {found}")
    if classes <= VOID:
        plain = plain.masked_fill(plain == VOID, IGNORED)
    return plain


def check_classes(output: Tensor, target: Tensor) -> None:
    """Check that masks hold only classes that the output has.

    Raises:
        DataError: If a class is outside 0 ... K - 1 and not to be ignored.
    """
    plain, classes = class_map(output, target), output.shape[1]
    wrong = plain[(plain != IGNORED) & ((plain < 0) | (plain >= classes))]
    if len(wrong):
        raise DataError(f"expected masks of classes 0 ... {classes - 1}, 255 or -100 to ignore, got {int(wrong[0])}")
