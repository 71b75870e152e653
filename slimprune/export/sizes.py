"""Image sizes that a fully convolutional model accepts in addition to that of its example input."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = (1, 2, 4, 8, 16, 32, 64)
"""Candidate steps of which a model may require height and width to be multiples, smallest first."""

Size = tuple[int, int]
"""Height and width in pixels."""


def size_step(model: nn.Module, sample: Tensor) -> int | None:
    """Return the smallest step in which height and width may vary, or None if the model accepts only one size.

    A model accepts a size if its output, [N, K, H, W] for the sample, has the height and width of the input.

    Args:
        model: Model on the CPU, in eval mode.
        sample: An input; only inputs [1, C, H, W] can have other sizes.
    """
    if sample.ndim != 4 or not _follows(model, sample):
        return None
    for step in STEPS:
        if all(_follows(model, resized(sample, size)) for size in other_sizes(sample, step)):
            return step
    return None


def other_sizes(sample: Tensor, step: int) -> tuple[Size, ...]:
    """Return three sizes near that of `sample` [N, C, H, W], in multiples of a step.

    They are larger, smaller and of other shapes. For 256x256 in steps of 1: 257x259, 128x257, 256x192.
    """
    height, width = (-(-side // step) for side in sample.shape[2:])
    sizes = ((height + 1, width + 3), (-(-height // 2), width + 1), (height, -(-3 * width // 4)))
    return tuple((rows * step, columns * step) for rows, columns in sizes)


def resized(samples: Tensor, size: Size) -> Tensor:
    """Interpolate the samples [N, C, H, W] to another height and width."""
    return F.interpolate(samples, size=size, mode="bilinear", align_corners=False)


def _follows(model: nn.Module, inputs: Tensor) -> bool:
    """Return whether the output has the height and width of the input."""
    try:
        with torch.no_grad():
            output = model(inputs)
    except Exception:  # noqa: BLE001 any exception means that the model does not accept this size
        return False
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:] == inputs.shape[2:]
