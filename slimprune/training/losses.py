"""Training losses for labels and masks, by name."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.forward import Loss
from slimprune.training.masks import foreground_logits, plain_mask
from slimprune.types import AUTO, Task

SMOOTHING = 1.0
"""Pixels added to numerator and denominator of the dice ratio, so that empty masks have a loss and a gradient."""


def binary_cross_entropy(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean over all pixels of -(w t log p + (1 - t) log(1 - p)), with p = sigmoid(logit).

    Args:
        output: Logits [N, 1, H, W] or [N, H, W], or [N, 2, H, W] of background and foreground.
        target: Masks [N, 1, H, W] or [N, H, W] in [0, 1].
        weight: Weight w of the foreground, [1]; None for 1.

    Raises:
        UnsupportedModelError: If the shapes do not fit.
    """
    return F.binary_cross_entropy_with_logits(*_logits_and_mask(output, target), pos_weight=weight)


def soft_dice(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean soft dice loss of the images.

    The loss of an image is 1 - (2 sum p t + 1) / (sum p + sum t + 1), with p = sigmoid(logit) and sums over pixels. It
    is 0 if a prediction is certain and correct, including an empty prediction for an empty mask. Based on
    Milletari, Navab and Ahmadi (V-Net, 3DV 2016, section 3), with plain instead of squared sums.

    Args:
        output: Logits [N, 1, H, W] or [N, H, W], or [N, 2, H, W] of background and foreground.
        target: Masks [N, 1, H, W] or [N, H, W] in [0, 1].

    Raises:
        UnsupportedModelError: If the shapes do not fit.
    """
    logits, mask = _logits_and_mask(output, target)
    share = logits.sigmoid()
    overlap, sizes = (share * mask).sum((1, 2)), (share + mask).sum((1, 2))
    return (1 - (2 * overlap + SMOOTHING) / (sizes + SMOOTHING)).mean()


def cross_entropy_and_dice(output: Tensor, target: Tensor) -> Tensor:
    """Return the sum of `binary_cross_entropy` and `soft_dice`."""
    return binary_cross_entropy(output, target) + soft_dice(output, target)


def _logits_and_mask(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as [N, H, W], at least in float32 because bfloat16 cannot count the pixels of an image."""
    logits = foreground_logits(output, target)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits, plain_mask(target).to(logits.dtype)


LOSSES: Mapping[Task, Mapping[str, Loss]] = {
    "classification": {"cross-entropy": F.cross_entropy},
    "segmentation": {"bce": binary_cross_entropy, "dice": soft_dice, "bce+dice": cross_entropy_and_dice},
}
"""Losses by task and name; `auto` selects the first of a task."""


def find_loss(name: str, task: Task) -> Loss:
    """Return the loss of that name, or the task's default for `auto`.

    Raises:
        UsageError: If the task has no such loss.
    """
    losses = LOSSES[task]
    if name == AUTO:
        return next(iter(losses.values()))
    if name not in losses:
        raise UsageError(f"expected a loss for {task} ({', '.join([AUTO, *losses])}), got {name!r}")
    return losses[name]
