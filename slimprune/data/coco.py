"""Images with boxes in the form of COCO's annotations: one JSON file and one folder of images for each part."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import TypedDict

from slimprune.bounded import LARGEST_SIDE, read_bounded
from slimprune.data.augmentation import Augmentation
from slimprune.data.decoding import to_tensor
from slimprune.data.image_data import ImageData
from slimprune.data.streamed_data import STREAM_ABOVE, hold_or_stream
from slimprune.data.targets import BOX_NUMBERS, NO_BOX
from slimprune.errors import DataError, VerificationError, visible
from slimprune.files import read_value
from slimprune.preprocessing import read_rgb

LARGEST_ANNOTATIONS = 2**32
"""Most bytes of a file of annotations."""

DEFAULT_SIDE = 320
"""Side in pixels to which images of different sizes are brought, if the user gives none."""

PADDING = (124, 116, 104)
"""Colour around images that are no squares, the mean of ImageNet's photographs."""

SMALLEST_SIDE = 1.0
"""Side in pixels, after resizing, below which a box is left out."""


class Part(NamedTuple):
    """Where a part of a data set is: its annotations and its images, below the folder of the set."""

    annotations: str
    images: str


LAYOUTS: Sequence[tuple[Part, Part]] = (
    (Part("annotations/instances_train2017.json", "train2017"), Part("annotations/instances_val2017.json", "val2017")),
    (Part("annotations/instances_train.json", "train"), Part("annotations/instances_val.json", "val")),
    (Part("train/_annotations.coco.json", "train"), Part("valid/_annotations.coco.json", "valid")),
)
"""Training and test part of the layouts that are known: COCO's own, the same without a year, and Roboflow's export."""


class Picture(TypedDict):
    """An entry of `images`; width and height are in pixels."""

    id: int
    file_name: str
    width: int
    height: int


class Category(TypedDict):
    """An entry of `categories`."""

    id: int
    name: str


class Annotation(TypedDict, total=False):
    """An entry of `annotations`; a box is x, y, width and height in pixels, x and y of its upper left corner."""

    image_id: int
    category_id: int
    bbox: list[float]
    iscrowd: int


class Annotations(TypedDict):
    """What is read of a file of annotations."""

    images: list[Picture]
    categories: list[Category]
    annotations: list[Annotation]


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


def load_coco(name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load images with boxes from a folder in one of COCO's `LAYOUTS`.

    Images that share one size keep it. All others, or all if a size is given, are resized by their longer side and
    padded at the right or at the bottom to squares of `image_size` pixels, 320 by default. In training, images are
    mirrored with probability 1/2. They are not normalised, because detectors do that themselves. The classes are the
    categories in the order of their ids. Annotations of crowds, and boxes below one pixel, are left out.

    Args:
        name: Name of the set in reports.
        source: The folder.
        image_size: Side in pixels of the squares that images are brought to.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If files are missing or unreadable, categories of the parts differ, or an annotation is not valid.
    """
    root = Path(os.path.expanduser(source))
    train_part, test_part = _layout(root)
    train, test = (_read(root / part.annotations) for part in (train_part, test_part))
    names = _class_names(train, root / train_part.annotations)
    if _class_names(test, root / test_part.annotations) != names:
        raise DataError(f"expected equal categories in both files of annotations of '{root}', got different ones")
    side = _side([*train["images"], *test["images"]], image_size)
    found = [_listed(root, part, content, side) for part, content in ((train_part, train), (test_part, test))]
    most = max(1, *(len(boxes) for _, _, listed in found for boxes in listed))
    train_samples, test_samples = (
        BoxSamples(paths, sizes, _padded(listed, most), side) for paths, sizes, listed in found
    )
    return hold_or_stream(
        name,
        train_samples,
        test_samples,
        tuple(names.values()),
        stream_above,
        task="detection",
        augmentation=Augmentation(flip=True),
    )


def letterboxed(image: Image.Image, side: int) -> Image.Image:
    """Resize an image by its longer side, and pad it at the right or at the bottom to a square."""
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    square = Image.new("RGB", (side, side), PADDING)
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR), (0, 0))
    return square


def _layout(root: Path) -> tuple[Part, Part]:
    for train, test in LAYOUTS:
        if (root / train.annotations).is_file():
            return train, test
    listed = ", ".join(train.annotations for train, _ in LAYOUTS)
    raise DataError(f"expected a file of annotations in '{root}' ({listed}), found none")


def _read(file: Path) -> Annotations:
    try:
        content = read_value(Annotations, read_bounded(file, LARGEST_ANNOTATIONS), f"annotations '{file}'")
    except OSError as error:
        raise DataError(f"expected readable annotations '{file}', got {error.strerror}") from error
    except VerificationError as error:
        raise DataError(str(error)) from error
    if not content["images"]:
        raise DataError(f"expected images in '{file}', got none")
    for picture in content["images"]:
        if not (0 < picture["width"] <= LARGEST_SIDE and 0 < picture["height"] <= LARGEST_SIDE):
            size = f"{picture['width']}x{picture['height']}"
            raise DataError(f"expected images of 1 to {LARGEST_SIDE} pixels a side in '{file}', got {size}")
    return content


def _class_names(content: Annotations, file: Path) -> dict[int, str]:
    """Return the name of each category by its id, in the order of the ids."""
    names = {category["id"]: category["name"] for category in sorted(content["categories"], key=lambda c: c["id"])}
    if not names or len(names) < len(content["categories"]):
        raise DataError(f"expected categories of different ids in '{file}', got {len(content['categories'])}")
    if wrong := [name for name in names.values() if name != visible(name)]:
        raise DataError(f"expected names of categories without control characters in '{file}', got {wrong[0]!r}")
    return names


def _side(pictures: Sequence[Picture], wanted: int | None) -> int | None:
    sizes = {(picture["width"], picture["height"]) for picture in pictures}
    if wanted is not None:
        return None if sizes == {(wanted, wanted)} else wanted
    return None if len(sizes) == 1 else DEFAULT_SIDE


def _listed(
    root: Path, part: Part, content: Annotations, side: int | None
) -> tuple[tuple[Path, ...], tuple[tuple[int, int], ...], list[list[list[float]]]]:
    """Return the file, the size and the boxes of every image of a part."""
    pictures = {picture["id"]: picture for picture in content["images"]}
    if len(pictures) < len(content["images"]):
        raise DataError(f"expected images of different ids in '{root / part.annotations}', got equal ones")
    classes = {category: number for number, category in enumerate(sorted(c["id"] for c in content["categories"]))}
    boxes: dict[int, list[list[float]]] = {number: [] for number in pictures}
    for entry in content["annotations"]:
        if entry.get("iscrowd"):
            continue
        picture = pictures.get(entry.get("image_id", NO_BOX))
        box = None if picture is None else _box(entry, classes, picture, side)
        if picture is None or box is None:
            rule = "expected annotations with a known image_id and category_id and a bbox [x, y, width, height]"
            raise DataError(f"{rule} in '{root / part.annotations}', got {dict(entry)}"[:500])
        if min(box[3] - box[1], box[4] - box[2]) >= SMALLEST_SIDE:
            boxes[picture["id"]].append(box)
    folder = root / part.images
    paths = tuple(_inside(folder, picture["file_name"]) for picture in pictures.values())
    return paths, tuple((p["width"], p["height"]) for p in pictures.values()), list(boxes.values())


def _box(entry: Annotation, classes: Mapping[int, int], picture: Picture, side: int | None) -> list[float] | None:
    """Return class, x1, y1, x2, y2 in pixels of the resized image, inside of it; None if the entry is not valid."""
    number, box = classes.get(entry.get("category_id", NO_BOX)), entry.get("bbox", [])
    if number is None or len(box) != BOX_NUMBERS - 1 or not all(map(np.isfinite, box)):
        return None
    x, y, width, height = box
    right, bottom = picture["width"], picture["height"]
    corners = (min(max(x, 0), right), min(max(y, 0), bottom), min(x + width, right), min(y + height, bottom))
    if side is None:
        return [float(number), *corners]
    scale = side / max(right, bottom)
    return [float(number), *(min(scale * corner, side) for corner in corners)]


def _inside(folder: Path, file_name: str) -> Path:
    """Return the path of an image, which must be below its folder."""
    path = Path(file_name)
    if path.is_absolute() or ".." in path.parts or file_name != visible(file_name):
        raise DataError(f"expected names of files below '{folder}', got {file_name!r}")
    return folder / path


def _padded(listed: Sequence[Sequence[Sequence[float]]], most: int) -> Tensor:
    """Return the boxes of all images as float32 [N, most, 5], behind each image's own rows of class -1."""
    padded = torch.zeros(len(listed), most, BOX_NUMBERS)
    padded[:, :, 0] = NO_BOX
    for row, boxes in zip(padded, listed, strict=True):
        if boxes:
            row[: len(boxes)] = torch.tensor(boxes)
    return padded
