"""Exact channel means and standard deviations of 8-bit images."""

from collections.abc import Iterable

import torch
from torch import Tensor

from slimprune.data.targets import KINDS
from slimprune.types import TaskName

LEVELS = 256


def channel_statistics(batches: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and standard deviation per channel, over all images and pixels.

    With n_v pixels of value v (0..255) and n pixels in total: mean = sum n_v v / (255 n) and
    std = sqrt(sum n_v (v / 255 - mean)^2 / n). A constant channel has std 1, so that dividing by it is safe.

    Args:
        batches: At least one batch of uint8 images [B, C, H, W], all with the same C.

    Returns:
        Means and standard deviations, C numbers each, in units of the full scale (0..1).
    """
    counts = torch.stack([_level_counts(batch) for batch in batches]).sum(dim=0).double()
    values = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
    shares = counts / counts.sum(dim=1, keepdim=True)
    mean = (shares * values).sum(dim=1)
    variance = (shares * (values - mean[:, None]) ** 2).sum(dim=1)
    constant = (counts > 0).sum(dim=1) == 1
    std = torch.where(constant, 1.0, variance.sqrt())
    return tuple(mean.tolist()), tuple(std.tolist())


def normalisation_for(task: TaskName, batches: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation by which images are normalised for a task, in 0..1.

    They are those of `channel_statistics`, or 0 and 1 where networks normalise their images themselves.
    """
    if KINDS[task].raw:
        channels = next(iter(batches)).shape[1]
        return (0.0,) * channels, (1.0,) * channels
    return channel_statistics(batches)


def _level_counts(images: Tensor) -> Tensor:
    """Count how often each value occurs in each channel: int64 [C, 256]."""
    return torch.stack([channel.flatten().bincount(minlength=LEVELS) for channel in images.unbind(1)])
