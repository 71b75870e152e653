"""Images with boxes, whatever form their annotations had: brought to one size, cut at the edges, in one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from slimprune.data.augmentation import Augmentation
from slimprune.data.decoding import to_tensor
from slimprune.data.image_data import ImageData
from slimprune.data.streamed_data import hold_or_stream
from slimprune.data.targets import BOX_NUMBERS, NO_BOX
from slimprune.errors import DataError
from slimprune.preprocessing import read_rgb

DEFAULT_SIDE = 320
"""Side in pixels to which images of different sizes are brought, if the user gives none."""

PADDING = (124, 116, 104)
"""Colour around images that are no squares, the mean of ImageNet's photographs."""

SMALLEST_SIDE = 1.0
"""Side in pixels, after resizing, below which a box is left out."""

Box = tuple[int, float, float, float, float]
"""Class, and x1, y1, x2, y2 in pixels of the image's file, which may lie outside of it."""


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file and what is in it.

    Attributes:
        path: The file.
        width: Width in pixels.
        height: Height in pixels.
        boxes: Its boxes.
    """

    path: Path
    width: int
    height: int
    boxes: Sequence[Box]

    def resized(self, side: int | None) -> list[list[float]]:
        """Return the boxes in pixels of the image resized to a square of this side, inside of it, large enough."""
        scale = 1.0 if side is None else side / max(self.width, self.height)
        right, bottom = (min(scale * length, side or length) for length in (self.width, self.height))
        found = [
            [
                float(number),
                min(max(scale * x1, 0.0), right),
                min(max(scale * y1, 0.0), bottom),
                min(max(scale * x2, 0.0), right),
                min(max(scale * y2, 0.0), bottom),
            ]
            for number, x1, y1, x2, y2 in self.boxes
        ]
        return [box for box in found if min(box[3] - box[1], box[4] - box[2]) >= SMALLEST_SIDE]


@dataclass(frozen=True)
class BoxSamples:
    """Image files with boxes.

    Attributes:
        paths: One file per sample.
        sizes: Width and height of each image in pixels.
        boxes: Boxes of each image, float32 [M, 5]: class or -1, x1, y1, x2, y2 in pixels of the resized image.
        side: Side of the squares that images are brought to; None leaves them as they are.
    """

    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    boxes: Tensor
    side: int | None

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one file into uint8 [3, H, W] and float32 [M, 5].

        Raises:
            DataError: If it cannot be decoded, or is of another size than its annotations say.
        """
        path = self.paths[index]
        image = read_rgb(path, str(path))
        if image.size != self.sizes[index]:
            said, found = (f"{width}x{height}" for width, height in (self.sizes[index], image.size))
            raise DataError(f"expected an image of {said} (width x height), as annotated, in '{path}', got {found}")
        fitted = image if self.side is None else letterboxed(image, self.side)
        return to_tensor(fitted), self.boxes[index]


def with_boxes(
    name: str,
    train: Sequence[AnnotatedImage],
    test: Sequence[AnnotatedImage],
    class_names: tuple[str, ...],
    image_size: int | None,
    stream_above: int,
) -> ImageData:
    """Return a data set of images with boxes.

    Images that share one size keep it. All others, or all if a size is given, are resized by their longer side and
    padded at the right or at the bottom to squares of `image_size` pixels, 320 by default. In training, images are
    mirrored with probability 1/2. They are not normalised, because detectors do that themselves. Boxes below one pixel
    are left out.

    Args:
        name: Name of the set in reports.
        train: Training images.
        test: Test images.
        class_names: Name of each class.
        image_size: Side in pixels of the squares that images are brought to.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If an image cannot be decoded, or is of another size than its annotations say.
    """
    side = _side([*train, *test], image_size)
    parts = [(part, [image.resized(side) for image in part]) for part in (train, test)]
    most = max(1, *(len(boxes) for _, resized in parts for boxes in resized))
    train_samples, test_samples = (
        BoxSamples(
            tuple(image.path for image in part),
            tuple((image.width, image.height) for image in part),
            _padded(resized, most),
            side,
        )
        for part, resized in parts
    )
    return hold_or_stream(
        name,
        train_samples,
        test_samples,
        class_names,
        stream_above,
        task="detection",
        augmentation=Augmentation(flip=True),
    )


def _side(images: Sequence[AnnotatedImage], wanted: int | None) -> int | None:
    sizes = {(image.width, image.height) for image in images}
    if wanted is not None:
        return None if sizes == {(wanted, wanted)} else wanted
    return None if len(sizes) == 1 else DEFAULT_SIDE


def letterboxed(image: Image.Image, side: int) -> Image.Image:
    """Resize an image by its longer side, and pad it at the right or at the bottom to a square."""
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    square = Image.new("RGB", (side, side), PADDING)
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR), (0, 0))
    return square


def _padded(listed: Sequence[Sequence[Sequence[float]]], most: int) -> Tensor:
    """Return the boxes of all images as float32 [N, most, 5], behind each image's own rows of class -1."""
    padded = torch.zeros(len(listed), most, BOX_NUMBERS)
    padded[:, :, 0] = NO_BOX
    for row, boxes in zip(padded, listed, strict=True):
        if boxes:
            row[: len(boxes)] = torch.tensor(boxes)
    return padded
