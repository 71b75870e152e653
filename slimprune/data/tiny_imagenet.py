"""Tiny-ImageNet as it is distributed: images by class for training, and val/val_annotations.txt for testing."""

import os
from collections import Counter
from pathlib import Path

from slimprune.bounded import read_bounded
from slimprune.data.decoding import choose_size
from slimprune.data.folder import FileSamples
from slimprune.data.image_data import ImageData
from slimprune.data.image_listing import image_sizes, images_in
from slimprune.data.streamed_data import STREAM_ABOVE, hold_or_stream
from slimprune.errors import DataError, visible

ANNOTATIONS, CLASSES, WORDS = "val/val_annotations.txt", "wnids.txt", "words.txt"
LARGEST_TEXT = 2**24
"""Most bytes of one of these files; words.txt, the largest, has 2.7 MB."""

Labelled = list[tuple[Path, int]]
"""Files with the indices of their classes."""


def load_tiny_imagenet(
    name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE
) -> ImageData:
    """Load the folder `tiny-imagenet-200`: 100,000 training images of 200 classes, 64x64 pixels.

    The 10,000 images of `val` are the test images, with the classes that `val_annotations.txt` states; the images in
    `test` have no labels and are left out. Classes are in the order of `wnids.txt`, and named by the first word of
    `words.txt` that no other class has, or by their WordNet number.

    Args:
        name: Name of the set in reports.
        source: The folder.
        image_size: Side in pixels that images are resized and cropped to; by default they are left as they are.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If a file or all images are missing, an annotation names no class, or an image cannot be read.
    """
    root = Path(os.path.expanduser(source))
    numbers = _numbers(root)
    train, test = _train_files(root, numbers), _test_files(root, numbers)
    size = choose_size(image_sizes(path for path, _ in (*train, *test)), image_size, keep_large=False)
    names = _names(root, numbers)
    return hold_or_stream(name, FileSamples.of(train, size), FileSamples.of(test, size), names, stream_above)


def tiny_imagenet_files(root: Path) -> list[Path]:
    """List the images of both parts and the files that label them.

    Raises:
        DataError: If one of them is missing.
    """
    numbers = _numbers(root)
    images = [path for path, _ in (*_train_files(root, numbers), *_test_files(root, numbers))]
    return [root / CLASSES, root / ANNOTATIONS, *images]


def _numbers(root: Path) -> tuple[str, ...]:
    """Return the WordNet numbers of the classes."""
    numbers = tuple(line.strip() for line in _lines(root / CLASSES) if line.strip())
    if not numbers or len(set(numbers)) < len(numbers):
        raise DataError(f"expected WordNet numbers, each once, in '{root / CLASSES}', got {len(numbers)} lines")
    for number in numbers:
        if not (number.isascii() and number.isalnum()):
            raise DataError(
                f"expected WordNet numbers such as n01443537 in '{root / CLASSES}', got {visible(number)!r}"
            )
    return numbers


def _train_files(root: Path, numbers: tuple[str, ...]) -> Labelled:
    found: Labelled = []
    for label, number in enumerate(numbers):
        folder = root / "train" / number / "images"
        try:
            files = images_in(folder)
        except OSError as error:
            raise DataError(f"expected a folder of images '{folder}', got {error.strerror}") from error
        if not files:
            raise DataError(f"expected images in '{folder}', found none")
        found += [(file, label) for file in files]
    return found


def _test_files(root: Path, numbers: tuple[str, ...]) -> Labelled:
    """Return the images of the annotations, in their order; an annotation is FILE, WNID and four numbers of a box."""
    labels, found = {number: label for label, number in enumerate(numbers)}, []
    for row, line in enumerate(_lines(root / ANNOTATIONS), start=1):
        file, _, rest = line.partition("\t")
        number = rest.partition("\t")[0].strip()
        if not line.strip():
            continue
        if number not in labels or Path(file).name != file or not file:
            raise DataError(
                f"expected FILE and one of the {len(labels)} classes in line {row} of '{root / ANNOTATIONS}', got "
                f"{visible(line)[:80]!r}"
            )
        found.append((root / "val" / "images" / file, labels[number]))
    if not found:
        raise DataError(f"expected images in '{root / ANNOTATIONS}', found none")
    return found


def _names(root: Path, numbers: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name for every class."""
    if not (root / WORDS).is_file():
        return numbers
    words = dict(line.strip().partition("\t")[::2] for line in _lines(root / WORDS))
    lists = [[visible(word.strip()) for word in words.get(number, "").split(",")] for number in numbers]
    shared = {word for word, count in Counter(word for own in lists for word in set(own)).items() if count > 1}
    chosen = (next((word for word in own if word and word not in shared), None) for own in lists)
    return tuple(word or number for word, number in zip(chosen, numbers, strict=True))


def _lines(file: Path) -> list[str]:
    try:
        return read_bounded(file, LARGEST_TEXT).decode().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise DataError(f"expected '{file}' of Tiny-ImageNet, got {reason}") from error
