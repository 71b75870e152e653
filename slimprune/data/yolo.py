"""Images with boxes in the form of ultralytics: a YAML file names folders of images, and each has a text file."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import TypedDict

from slimprune.bounded import LARGEST_SIDE, read_bounded
from slimprune.data.boxes import AnnotatedImage, Box, with_boxes
from slimprune.data.image_data import ImageData
from slimprune.data.image_listing import SUFFIXES, images_in
from slimprune.data.streamed_data import STREAM_ABOVE
from slimprune.data.targets import BOX_NUMBERS
from slimprune.errors import DataError, UsageError, VerificationError, visible
from slimprune.files import read_value
from slimprune.preprocessing import image_size as size_of
from slimprune.recipe.yaml_size import check_size

LARGEST_DESCRIPTION, LARGEST_LIST, LARGEST_LABELS = 2**20, 2**28, 2**24
"""Most bytes of the YAML file, of a text file that lists images, and of one with the boxes of an image."""

IMAGES, LABELS = "images", "labels"
"""Folder of images, and the one beside it that takes its place in the path of their boxes."""

OUTSIDE = 0.01
"""How far shares of an image may lie outside of 0..1, as ultralytics tolerates."""

_MARK = "utf-8-sig"
"""UTF-8, with a byte-order mark or without."""


class Description(TypedDict, total=False):
    """What is read of the YAML file."""

    path: str
    train: str | list[str]
    val: str | list[str]
    validation: str | list[str]
    names: list[str] | dict[int, str]
    nc: int


def load_yolo(name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load images with boxes that a YAML file of ultralytics describes; for what becomes of them see `with_boxes`.

    `train` and `val` are folders of images, image files or text files that list some, or lists of these, below `path`.
    The boxes of `images/A/B.jpg` are the lines of `labels/A/B.txt`: a class from 0, and centre, width and height in
    shares of the image, or a class and the corners of a polygon, whose box is taken. Without that file, or with an
    empty one, there are none in the image. Equal lines count once. Nothing is downloaded, and no code of the file is
    run.

    Args:
        name: Name of the set in reports.
        source: The YAML file.
        image_size: Side in pixels of the squares that images are brought to.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If files are missing or unreadable, or a line is not valid.
    """
    file = Path(os.path.expanduser(source))
    described = _read(file)
    class_names, root = _class_names(described, file), _root(described, file)
    parts = described.get("train"), described.get("val", described.get("validation"))
    if not all(parts):
        raise DataError(f"expected the fields train and val in '{file}', got {', '.join(described) or 'none'}")
    train, test = ([*_images(root, entries, len(class_names))] for entries in parts if entries)
    if not any(image.boxes for image in train):
        raise DataError(f"expected boxes of training images such as '{_labels_of(train[0].path)}', found none")
    return with_boxes(name, train, test, class_names, image_size, stream_above)


def _read(file: Path) -> Description:
    try:
        text = read_bounded(file, LARGEST_DESCRIPTION).decode(_MARK)
        check_size(text)
        plain: Any = yaml.safe_load(text)
        return read_value(Description, json.dumps(plain, default=str), f"description '{file}'")
    except OSError as error:
        raise DataError(f"expected a readable description '{file}', got {error.strerror}") from error
    except (VerificationError, UsageError) as error:
        raise DataError(f"description '{file}': {error}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"description '{file}' is not YAML: {' '.join(str(error).split())}") from error


def _class_names(described: Description, file: Path) -> tuple[str, ...]:
    """Return the names of the classes, or their numbers if only how many there are is said."""
    given, count = described.get("names"), described.get("nc")
    named = given if isinstance(given, dict) else dict(enumerate(given or map(str, range(count or 0))))
    if not named or sorted(named) != list(range(len(named))) or count not in (None, len(named)):
        raise DataError(
            f"expected names of the classes 0, 1, ... in '{file}', got {len(named)} names and nc {count or 'unstated'}"
        )
    names = tuple(named[number] for number in range(len(named)))
    if wrong := [name for name in names if name != visible(name)]:
        raise DataError(f"expected names of classes without control characters in '{file}', got {wrong[0]!r}")
    return names


def _root(described: Description, file: Path) -> Path:
    """Return the folder of the data set: `path` below the current folder, as ultralytics reads it, or the file's."""
    path = Path(os.path.expanduser(described.get("path", "")))
    return path if described.get("path") and path.is_dir() else file.parent / path


def _images(root: Path, entries: str | Sequence[str], classes: int) -> Iterator[AnnotatedImage]:
    places = [_place(root, entry) for entry in ([entries] if isinstance(entries, str) else entries)]
    files = [image for place in places for image in _files(place)]
    if not files:
        raise DataError(f"expected images in '{root}' ({entries}), found none")
    for file in sorted(files):
        height, width = size_of(file, str(file))
        if max(height, width) > LARGEST_SIDE:
            raise DataError(
                f"expected images of at most {LARGEST_SIDE} pixels a side, got '{file}' of {width}x{height}"
            )
        yield AnnotatedImage(file, width, height, [*_boxes(_labels_of(file), width, height, classes)])


def _place(root: Path, entry: str) -> Path:
    """Return the path of an entry; one that begins with ../ may count from the parent of where it says."""
    exists = (root / entry).exists() or not entry.startswith("../")
    return root / (entry if exists else entry.removeprefix("../"))


def _files(entry: Path) -> list[Path]:
    """Return the images of a folder, those that a text file lists, or the file itself."""
    try:
        if entry.is_dir():
            return images_in(entry)
        if entry.suffix.lower() in SUFFIXES:
            return [entry]
        lines = read_bounded(entry, LARGEST_LIST).decode(_MARK).splitlines()
    except OSError as error:
        raise DataError(f"expected a folder of images or a list of them '{entry}', got {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"expected a list of images in UTF-8 '{entry}', got other bytes") from error
    return [entry.parent / line.strip() for line in lines if line.strip()]


def _labels_of(image: Path) -> Path:
    """Return the file of an image's boxes: under `labels` instead of the last `images` of its path."""
    folders = list(image.parent.parts)
    if IMAGES in folders:
        folders[len(folders) - 1 - folders[::-1].index(IMAGES)] = LABELS
    return Path(*folders, f"{image.stem}.txt")


def _boxes(file: Path, width: int, height: int, classes: int) -> Iterator[Box]:
    if not file.exists():
        return
    try:
        lines = read_bounded(file, LARGEST_LABELS).decode(_MARK).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected a readable file of boxes '{file}', got {type(error).__name__}") from error
    for line in dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()):
        box = _box(line)
        if box is None or not 0 <= box[0] < classes:
            rule = f"expected lines of a class below {classes}, and centre, width and height in shares of the image"
            raise DataError(f"{rule}, in '{file}', got {line[:80]!r}")
        number, x1, y1, x2, y2 = box
        yield number, x1 * width, y1 * height, x2 * width, y2 * height


def _box(line: str) -> Box | None:
    """Return the class and the corners in shares of the image that a line tells; None if it is not valid."""
    try:
        number, *shares = map(float, line.split())
    except ValueError:
        return None
    if not all(-OUTSIDE <= share <= 1 + OUTSIDE for share in shares) or not number.is_integer():
        return None
    if len(shares) == BOX_NUMBERS - 1:
        x, y, width, height = shares
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return (int(number), *corners) if min(width, height) >= 0 else None
    xs, ys = shares[0::2], shares[1::2]
    return (int(number), min(xs), min(ys), max(xs), max(ys)) if len(xs) == len(ys) >= 3 else None
