"""Images with boxes in the form of COCO's annotations: one JSON file and one folder of images for each part."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from typing_extensions import TypedDict

from slimprune.bounded import LARGEST_SIDE, read_bounded
from slimprune.data.boxes import AnnotatedImage, Box, with_boxes
from slimprune.data.image_data import ImageData
from slimprune.data.streamed_data import STREAM_ABOVE
from slimprune.data.targets import BOX_NUMBERS, NO_BOX
from slimprune.errors import DataError, VerificationError, visible
from slimprune.files import read_value

LARGEST_ANNOTATIONS = 2**32
"""Most bytes of a file of annotations."""


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


def load_coco(name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load images with boxes from a folder in one of COCO's `LAYOUTS`.

    The classes are the categories in the order of their ids. Annotations of crowds are left out. For what becomes of
    images and boxes see `with_boxes`.

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
    train_images, test_images = (
        _images(root, part, content) for part, content in ((train_part, train), (test_part, test))
    )
    return with_boxes(name, train_images, test_images, tuple(names.values()), image_size, stream_above)


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


def _images(root: Path, part: Part, content: Annotations) -> list[AnnotatedImage]:
    """Return the images of a part with their boxes."""
    pictures = {picture["id"]: picture for picture in content["images"]}
    if len(pictures) < len(content["images"]):
        raise DataError(f"expected images of different ids in '{root / part.annotations}', got equal ones")
    classes = {category: number for number, category in enumerate(sorted(c["id"] for c in content["categories"]))}
    boxes: dict[int, list[Box]] = {number: [] for number in pictures}
    for entry in content["annotations"]:
        if entry.get("iscrowd"):
            continue
        box = _box(entry, classes)
        if box is None or entry.get("image_id") not in pictures:
            rule = "expected annotations with a known image_id and category_id and a bbox [x, y, width, height]"
            raise DataError(f"{rule} in '{root / part.annotations}', got {dict(entry)}"[:500])
        boxes[entry["image_id"]].append(box)
    folder = root / part.images
    return [
        AnnotatedImage(_inside(folder, picture["file_name"]), picture["width"], picture["height"], boxes[number])
        for number, picture in pictures.items()
    ]


def _box(entry: Annotation, classes: Mapping[int, int]) -> Box | None:
    """Return the class and the corners of a box; None if the entry is not valid."""
    number, box = classes.get(entry.get("category_id", NO_BOX)), entry.get("bbox", [])
    if number is None or len(box) != BOX_NUMBERS - 1 or not all(map(math.isfinite, box)):
        return None
    x, y, width, height = box
    return number, x, y, x + width, y + height


def _inside(folder: Path, file_name: str) -> Path:
    """Return the path of an image, which must be below its folder."""
    path = Path(file_name)
    if path.is_absolute() or ".." in path.parts or file_name != visible(file_name):
        raise DataError(f"expected names of files below '{folder}', got {file_name!r}")
    return folder / path
