"""Reading of masks: image files whose pixels are numbers, not shades."""

import numpy as np
from PIL import Image

from slimprune.errors import DataError
from slimprune.preprocessing.images import DEEP_MODES, MODES, Encoded, decode, with_eight_bits

LARGEST = 255
"""Largest number of a pixel of 8 bits."""

COLOURS_OF_JPEG = 32
"""Most levels by which the channels of a grey image may differ after it was stored as a JPEG file in colours."""


def read_mask(encoded: Encoded, where: str) -> Image.Image:
    """Decode an image file into one number per pixel, 0..255, upright: Pillow mode "L".

    The numbers of a palette with colours are those of its entries; those of a grey palette are its levels, because
    programs that make files smaller store few levels that way. Numbers of 16 bits up to 255 stay as they are, and
    otherwise black and white become 0 and 255. Transparency counts for nothing.

    Raises:
        DataError: If the file cannot be decoded, its pixels are colours, or numbers of 16 bits are others than these.
    """
    image = decode(encoded, where).image
    if image.mode in DEEP_MODES:
        return _of_deep(image, where)
    if image.mode not in MODES:
        return with_eight_bits(image, where)  # refused
    if image.mode in ("P", "PA"):
        return Image.fromarray(np.asarray(image.getchannel(0))) if _has_colours(image) else image.convert("L")
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("L")
    return _of_colours(image, COLOURS_OF_JPEG if is_lossy(encoded) else 0, where)


def is_lossy(encoded: Encoded) -> bool:
    """Return whether a file begins as JPEG files do, whose pixels are only close to what was stored."""
    if isinstance(encoded, bytes):
        return encoded.startswith(b"\xff\xd8")
    with encoded.open("rb") as file:
        return file.read(2) == b"\xff\xd8"


def _has_colours(image: Image.Image) -> bool:
    levels = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return bool((np.ptp(levels, axis=1) > 0).any())


def _of_deep(image: Image.Image, where: str) -> Image.Image:
    numbers = np.asarray(image).astype(np.int64)
    if numbers.min() >= 0 and numbers.max() <= LARGEST:
        return Image.fromarray(numbers.astype(np.uint8))
    if set(np.unique(numbers).tolist()) <= {0, 0xFFFF}:
        return with_eight_bits(image, where)
    raise DataError(
        f"expected a mask of numbers up to {LARGEST}, or of 0 and 65535, in {where}, got {numbers.min()} to "
        f"{numbers.max()}"
    )


def _of_colours(image: Image.Image, most: int, where: str) -> Image.Image:
    """Return the level of each pixel of an image that has no colours, although it could, up to `most` levels."""
    levels = np.asarray(image.convert("RGB")).astype(np.int64)
    differing = np.ptp(levels, axis=2)
    if differing.max() <= most:
        return Image.fromarray(levels[:, :, 0].astype(np.uint8))
    row, column = np.argwhere(differing == differing.max())[0]
    colour = ", ".join(map(str, levels[row, column]))
    raise DataError(
        f"expected a mask with the number of each pixel's class (8-bit grey or palette) in {where}, got the colour "
        f"({colour}): save grey images with the number of each colour"
    )
