"""Images as 8-bit tensors, and the size that all images of a data set are brought to."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from slimprune.data.augmentation import SMALL_IMAGE
from slimprune.errors import DataError
from slimprune.preprocessing import filled

DEFAULT_IMAGE_SIZE = 224
"""Side in pixels of images that must be resized to one size, if the user gives none."""


def squared(image: Image.Image, size: int | None, resample: Image.Resampling) -> Image.Image:
    """Resize the shorter side to `size` pixels and crop the centre to a square; None leaves the image unchanged."""
    return image if size is None else filled(image, size, size, resample)


def to_tensor(image: Image.Image) -> Tensor:
    """Return the pixels of an "RGB" or "L" image as uint8 [C, H, W]."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def check_same_size(mask: tuple[int, int], image: tuple[int, int], where: str) -> None:
    """Check that a mask has the size of its image, each as width and height in pixels.

    Raises:
        DataError: If it does not.
    """
    if mask != image:
        found = " and ".join(f"{width}x{height}" for width, height in (mask, image))
        raise DataError(f"expected mask and image of one size (width x height) in {where}, got {found}")


def choose_size(sizes: Iterable[tuple[int, int]], wanted: int | None, keep_large: bool) -> int | None:
    """Choose the size that `squared` brings all images to.

    Images that share one size keep it if it is small (up to 64 pixels) or `keep_large` is set. All others become
    squares of 224 pixels. A size requested by the user takes precedence over both rules.

    Args:
        sizes: Height and width of every image; read only as far as needed.
        wanted: Side in pixels that the user requests, if any.
        keep_large: Whether images above 64 pixels that share one size keep it.

    Returns:
        The side in pixels; None to leave the images unchanged.
    """
    common = _common(sizes)
    if wanted is not None:
        return None if common == (wanted, wanted) else wanted
    if common is not None and (keep_large or max(common) <= SMALL_IMAGE):
        return None
    return DEFAULT_IMAGE_SIZE


def _common(sizes: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    first = None
    for size in sizes:
        first = first or size
        if size != first:
            return None
    return first
