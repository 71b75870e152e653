"""Training losses for labels, values, masks and images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slimprune.errors import UnsupportedModelError
from slimprune.training.masks import IGNORED, class_map, foreground_logits, plain_mask

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


def pixel_cross_entropy(output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of all pixels that are not to be ignored; 0 if there are none.

    Args:
        output: Logits [N, K, H, W].
        target: Classes [N, H, W] or [N, 1, H, W]; see `class_map` for those to be ignored.
        weight: Weight of each class, [K]; None for 1.

    Raises:
        UnsupportedModelError: If the shapes do not fit.
        DataError: If the targets are no integers.
    """
    classes = class_map(output, target)
    losses = F.cross_entropy(output, classes, weight=weight, ignore_index=IGNORED, reduction="none")
    judged = (classes != IGNORED).to(losses.dtype)
    shares = judged if weight is None else judged * weight.to(losses.dtype)[classes.clamp(min=0)]
    # Without a branch on the data, so that the step can be captured in a CUDA graph.
    return losses.sum() / shares.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def label_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits and targets of one shape, or [N, 1] and [N]."""
    logits, true = matching(output, target)
    return F.binary_cross_entropy_with_logits(logits, true)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of outputs and targets of one shape, or [N, 1] and [N]."""
    return F.mse_loss(*matching(output, target))


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of outputs and targets of one shape, or [N, 1] and [N]."""
    return F.l1_loss(*matching(output, target))


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean Huber loss of outputs and targets of one shape, or [N, 1] and [N], quadratic below 1."""
    return F.huber_loss(*matching(output, target))


def matching(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return an output and a float target of one shape; one output per sample [N, 1] also fits targets [N].

    Without this check, torch would broadcast [N, 1] and [N] to [N, N].

    Raises:
        UnsupportedModelError: If the shapes differ otherwise.
    """
    shapes = [shape[:1] if len(shape) == 2 and shape[1] == 1 else shape for shape in (output.shape, target.shape)]
    if shapes[0] != shapes[1]:
        found = f"{list(output.shape)} and {list(target.shape)}"
        raise UnsupportedModelError(f"expected outputs of the shape of the targets, got {found}")
    return output, target.reshape(output.shape).to(output.dtype)


def sum_of_losses(output: Tensor, batch: object) -> Tensor:
    """Return the sum of the losses [L] that a network has computed itself."""
    return output.sum()
