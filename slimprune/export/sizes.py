"""Image sizes that a fully convolutional model takes beside the one it was made for."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = (1, 2, 4, 8, 16, 32, 64)
"""Multiples of which a model may want height and width to be, the finest first."""

Size = tuple[int, int]
"""Height and width in pixels."""


def size_step(model: nn.Module, sample: Tensor) -> int | None:
    """The finest step in which height and width may vary, or None for a model that is made for one size.

    A model takes a size where its output, [N, K, H, W] at the sample's own size, follows the size of the input.

    Args:
        model: On the CPU, in eval mode.
        sample: An input; only [1, C, H, W] can be of another size.
    """
    if sample.ndim != 4 or not _follows(model, sample):
        return None
    for step in STEPS:
        if all(_follows(model, resized(sample, size)) for size in other_sizes(sample, step)):
            return step
    return None


def other_sizes(sample: Tensor, step: int) -> tuple[Size, ...]:
    """Three sizes around that of `sample` [N, C, H, W], larger, smaller and of other shapes, in multiples of a step.

    For 256x256 in steps of 1: 257x259, 128x257, 256x192.
    """
    height, width = (-(-side // step) for side in sample.shape[2:])
    sizes = ((height + 1, width + 3), (-(-height // 2), width + 1), (height, -(-3 * width // 4)))
    return tuple((rows * step, columns * step) for rows, columns in sizes)


def resized(samples: Tensor, size: Size) -> Tensor:
    """The samples [N, C, H, W] interpolated to another height and width."""
    return F.interpolate(samples, size=size, mode="bilinear", align_corners=False)


def _follows(model: nn.Module, inputs: Tensor) -> bool:
    """Whether the output has height and width of the input."""
    try:
        with torch.no_grad():
            output = model(inputs)
    except Exception:  # noqa: BLE001 whatever it raises, it does not take this size
        return False
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:] == inputs.shape[2:]
