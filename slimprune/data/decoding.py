"""Decoding of image files into 8-bit tensors of one size."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from slimprune.data.augmentation import SMALL_IMAGE
from slimprune.errors import DataError

DEFAULT_IMAGE_SIZE = 224
"""Side in pixels of images that must be resized to one size, if the user gives none."""

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "HSV", "LAB")
"""Pillow modes with at most 8 bits per channel."""

Encoded = Path | bytes


def image_size(encoded: Encoded, where: str) -> tuple[int, int]:
    """Read height and width from the header of an image file.

    Args:
        encoded: Path or bytes of the file.
        where: Name of the image in error messages.

    Raises:
        DataError: If the file cannot be read.
    """
    with _naming(where), Image.open(_stream(encoded)) as image:
        return image.height, image.width


def read_rgb(encoded: Encoded, where: str) -> Image.Image:
    """Decode an image file as RGB; grey, palette and transparent images are converted.

    Raises:
        DataError: If the file cannot be decoded or has more than 8 bits per channel.
    """
    image = _decode(encoded, where)
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def read_grey(encoded: Encoded, where: str) -> Image.Image:
    """Decode an image file into one channel of 0..255.

    Raises:
        DataError: If the file cannot be decoded or has more than 8 bits per channel.
    """
    return _decode(encoded, where).convert("L")


def framed(image: Image.Image, size: int | None, resample: Image.Resampling) -> Image.Image:
    """Resize the shorter side to `size` pixels and crop the centre to a square; None leaves the image unchanged."""
    if size is None:
        return image
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), resample).crop((left, top, left + size, top + size))


def to_tensor(image: Image.Image) -> Tensor:
    """Return the pixels of an "RGB" or "L" image as uint8 [C, H, W]."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def choose_size(sizes: Iterable[tuple[int, int]], wanted: int | None, keep_large: bool) -> int | None:
    """Choose the size that `framed` brings all images to.

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


def _decode(encoded: Encoded, where: str) -> Image.Image:
    with _naming(where), Image.open(_stream(encoded)) as image:
        image.load()
    if image.mode not in MODES:
        raise DataError(f"expected an image of 8 bits per channel in {where}, got Pillow mode {image.mode!r}")
    return image


def _stream(encoded: Encoded) -> Path | io.BytesIO:
    return io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Raise a `DataError` that names the file for any exception in the context.

    Pillow's decoders raise many kinds of exceptions.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"expected a readable image in {where}, got {type(error).__name__}: {reason}") from error
