"""Decoding of image files into 8-bit pixels, and bringing them to one size; needs nothing but Pillow and numpy."""

import io
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimprune.errors import DataError
from slimprune.preprocessing.description import INTERPOLATIONS, Preprocessing

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "HSV", "LAB")
"""Pillow modes with at most 8 bits per channel."""

DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow modes of grey images with 16 bits, which are divided by 257; Pillow reads 16-bit colours as 8-bit itself."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by its EXIF orientation."""

_TRANSPOSING = (5, 6, 7, 8)
_LEFT_FROM_RIGHT, _TOP_FROM_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)
"""Orientations in which the upright image begins with what ends the rows or columns of the file."""

_UNREADABLE_EXIF = (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error)

Encoded = Path | bytes


def image_size(encoded: Encoded, where: str) -> tuple[int, int]:
    """Read height and width from the header of an image file, as the image is seen upright.

    Args:
        encoded: Path or bytes of the file.
        where: Name of the image in error messages.

    Raises:
        DataError: If the file cannot be read.
    """
    with _naming(where), Image.open(_stream(encoded)) as image:
        turned = _orientation(image) in _TRANSPOSING
        return (image.width, image.height) if turned else (image.height, image.width)


def read_image(encoded: Encoded, channel_order: str, where: str) -> Image.Image:
    """Decode an image file as `RGB` or as `L`; see `read_rgb` and `read_grey`."""
    return read_grey(encoded, where) if channel_order == "L" else read_rgb(encoded, where)


def read_rgb(encoded: Encoded, where: str) -> Image.Image:
    """Decode an image file as RGB, upright; grey, palette and transparent images are converted.

    Raises:
        DataError: If the file cannot be decoded or its pixels have no known scale.
    """
    return _as_rgb(with_eight_bits(decode(encoded, where).image, where))


def read_reduced(encoded: Encoded, where: str, enough: Callable[[int, int], tuple[int, int]]) -> "Reduced":
    """Decode an image file as RGB, upright, a large JPEG file to a half, quarter or eighth of its size.

    That takes a part of the time, since the file is decoded from fewer coefficients of its cosine transform.

    Args:
        encoded: Path or bytes of the file.
        where: Name of the image in error messages.
        enough: Function of height and width of the whole image -> height and width that suffice.

    Raises:
        DataError: If the file cannot be decoded or its pixels have no known scale.
    """
    decoded = decode(encoded, where, enough)
    return replace(decoded, image=_as_rgb(with_eight_bits(decoded.image, where)))


@dataclass(frozen=True)
class Reduced:
    """An image that may have been decoded to a part of its size.

    Attributes:
        image: The image as decoded, upright.
        height: Height of the whole image in pixels.
        width: Width of the whole image in pixels.
        orientation: EXIF orientation that it had in its file.
    """

    image: Image.Image
    height: int
    width: int
    orientation: int = 1

    @property
    def factor(self) -> int:
        """What the size was divided by: 1, 2, 4 or 8."""
        return next(factor for factor in (1, 2, 4, 8) if -(-self.width // factor) == self.image.width)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, upper, right and lower end of the whole image in the decoded one, which has no parts of pixels."""
        width, height = self.width / self.factor, self.height / self.factor
        left = self.image.width - width if self.orientation in _LEFT_FROM_RIGHT else 0
        top = self.image.height - height if self.orientation in _TOP_FROM_BOTTOM else 0
        return left, top, left + width, top + height

    def filled(self, height: int, width: int, resample: Image.Resampling) -> Image.Image:
        """Resize and crop as `filled` does with the whole image."""
        scale = max(height / self.height, width / self.width)
        rows, columns = max(height, round(self.height * scale)), max(width, round(self.width * scale))
        left, top = (columns - width) // 2, (rows - height) // 2
        return self.image.resize((columns, rows), resample, self.box).crop((left, top, left + width, top + height))

    def resized_crop(
        self, top: int, left: int, height: int, width: int, size: int, resample: Image.Resampling
    ) -> Image.Image:
        """Resize a crop to a square.

        Args:
            top: Upper end of the crop in pixels of the whole image.
            left: Left end.
            height: Height.
            width: Width.
            size: Side of the square in pixels.
            resample: Interpolation.
        """
        from_left, from_top = self.box[0] + left / self.factor, self.box[1] + top / self.factor
        to_right, to_bottom = from_left + width / self.factor, from_top + height / self.factor
        column, row = math.floor(from_left), math.floor(from_top)
        part = self.image.crop((column, row, math.ceil(to_right), math.ceil(to_bottom)))
        box = (from_left - column, from_top - row, to_right - column, to_bottom - row)
        return part.resize((size, size), resample, box)


def read_grey(encoded: Encoded, where: str) -> Image.Image:
    """Decode an image file into one channel of 0..255, upright.

    Raises:
        DataError: If the file cannot be decoded or its pixels have no known scale.
    """
    return with_eight_bits(decode(encoded, where).image, where).convert("L")


def read_numbers(encoded: Encoded, where: str) -> NDArray[np.int64]:
    """Return the pixels of a grey image of 8 or 16 bits as they are, such as the numbers of segments, [H, W].

    Raises:
        DataError: If the file cannot be decoded or has colours.
    """
    with _naming(where), Image.open(_stream(encoded)) as image:
        image.load()
    if image.mode not in ("1", "L", *DEEP_MODES):
        raise DataError(f"expected a grey image of 8 or 16 bits in {where}, got Pillow mode {image.mode!r}")
    numbers: NDArray[np.int64] = np.asarray(image).astype(np.int64)
    return numbers


def framed(image: Image.Image, how: Preprocessing) -> Image.Image:
    """Resize an image and crop its centre to the size of a network's input."""
    return filled(image, how.height, how.width, Image.Resampling(INTERPOLATIONS[how.interpolation]))


def filled(image: Image.Image, height: int, width: int, resample: Image.Resampling) -> Image.Image:
    """Resize an image to the smallest size that covers height x width in its proportions, and crop the centre."""
    return Reduced(image, image.height, image.width).filled(height, width, resample)


def _as_rgb(image: Image.Image) -> Image.Image:
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def decode(encoded: Encoded, where: str, enough: Callable[[int, int], tuple[int, int]] | None = None) -> Reduced:
    """Decode an image file in its own mode, upright, to a size that is `enough` for its height and width, or to all.

    Raises:
        DataError: If the file cannot be decoded.
    """
    with _naming(where), Image.open(_stream(encoded)) as image:
        orientation, whole = _orientation(image), image.size
        turned, drafted = orientation in _TRANSPOSING, False
        if enough is not None:
            height, width = enough(*whole) if turned else enough(*whole[::-1])
            drafted = image.draft(None, (height, width) if turned else (width, height)) is not None
        turn = TURNS.get(orientation)
        image.load()
    upright: Image.Image = image if turn is None else image.transpose(turn)
    width, height = upright.size if not drafted else whole[::-1] if turned else whole
    return Reduced(upright, height, width, orientation)


def with_eight_bits(image: Image.Image, where: str) -> Image.Image:
    """Return an image of 8 bits per channel as it is, and a grey one of 0..65535 in 0..255, rounded.

    Raises:
        DataError: If its pixels have no known scale.
    """
    if image.mode in MODES:
        return image
    if image.mode not in DEEP_MODES:
        raise DataError(f"expected an image of 8 or 16 bits per channel in {where}, got Pillow mode {image.mode!r}")
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise DataError(f"expected pixels in 0..65535 in {where}, got {values.min()} to {values.max()}")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image that has not been loaded yet; 1 (upright) if none can be read.

    Pillow turns TIFF images itself while it loads them, and finds what stands behind the pixels of a PNG only then.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except _UNREADABLE_EXIF:
        return 1


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
