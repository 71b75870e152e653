"""Image to image: super-resolution, denoising and the like."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.tasks.kinds.regression import check_values
from slimprune.tasks.registry import register
from slimprune.tasks.task import Task
from slimprune.training.losses import absolute_error, squared_error
from slimprune.training.torch_metrics import psnr, ssim


def _image(channels: int, height: int, width: int) -> Sequence[tuple[int, ...]]:
    return [(channels, height, width)]


def _check_images(output: Any, target: Any) -> None:
    """Check images [N, C, H, W] and targets of the same shape with pixels in 0..1."""
    check_values(output, target)
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise UnsupportedModelError(f"expected images [N, C, H, W], got {list(output.shape)}")
    low, high = float(target.min()), float(target.max())
    if low < 0 or high > 1:
        raise DataError(f"expected target images with pixels in 0..1, got {low:.3g} to {high:.3g}")


register(
    Task(
        "image-to-image",
        "images with pixels in 0..1: absolute (l1) or mean squared loss; PSNR or SSIM",
        {"l1": absolute_error, "mse": squared_error},
        {"psnr": psnr, "ssim": ssim},
        reads="image",
        check=_check_images,
        shapes=_image,
        dense=True,
    )
)
