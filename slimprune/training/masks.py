"""Conversion of binary segmentation outputs and masks from their usual shapes to one."""

from torch import Tensor

from slimprune.errors import UnsupportedModelError


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
