"""The one table of data sets, and data by name."""

from collections.abc import Callable
from dataclasses import dataclass

from slimprune.data.cifar import load_cifar
from slimprune.data.digits import load_digits
from slimprune.data.folder import load_folder
from slimprune.data.huggingface import load_huggingface
from slimprune.data.image_data import ImageData
from slimprune.data.streamed_data import STREAM_ABOVE
from slimprune.data.tensors import load_tensors
from slimprune.errors import UsageError


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        name: The whole name, which reports repeat.
        argument: What stands after the prefix.
        image_size: Side in pixels, if given.
        stream_above: Decoded size in bytes from which data is not held in memory.
    """

    name: str
    argument: str
    image_size: int | None
    stream_above: int


@dataclass(frozen=True)
class Source:
    """One row of the table.

    Attributes:
        pattern: How its data sets are named.
        description: One line for people.
        load: Takes the request.
    """

    pattern: str
    description: str
    load: Callable[[Request], ImageData]


SOURCES: dict[str, Source] = {
    "digits": Source(
        "digits",
        "1,797 handwritten digits that come with slimprune, 32x32, 10 classes",
        lambda r: load_digits(r.name, r.image_size),
    ),
    "cifar10": Source(
        "cifar10",
        "60,000 photographs, 32x32, 10 classes, downloaded on first use",
        lambda r: load_cifar(r.name, r.image_size),
    ),
    "cifar100": Source(
        "cifar100",
        "60,000 photographs, 32x32, 100 classes, downloaded on first use",
        lambda r: load_cifar(r.name, r.image_size),
    ),
    "folder:": Source(
        "folder:DIR",
        "image files as DIR/train/CLASS/* and DIR/val/CLASS/* (or DIR/test)",
        lambda r: load_folder(r.name, r.argument, r.image_size, r.stream_above),
    ),
    "hf:": Source(
        "hf:NAME_OR_DIR",
        "a Hugging Face data set or a folder of its files: images with labels or masks",
        lambda r: load_huggingface(r.name, r.argument, r.image_size, r.stream_above),
    ),
    "tensors:": Source(
        "tensors:DIR",
        "DIR/train.safetensors and DIR/test.safetensors with images and labels or masks",
        lambda r: load_tensors(r.name, r.argument, r.image_size),
    ),
}


def data_sets() -> list[tuple[str, str]]:
    """List how data sets are named, each with a description."""
    return [(source.pattern, source.description) for source in SOURCES.values()]


def load(name: str, *, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load a data set by its name.

    Args:
        name: One of the patterns of `data_sets()`.
        image_size: Side in pixels that images are brought to; needed for none.
        stream_above: Decoded size in bytes from which image files are decoded as they are read.

    Raises:
        UsageError: If the name is unknown, or the image size is not positive or does not go with the data.
        DataError: If the data is missing, empty or unreadable.
    """
    prefix, colon, argument = name.partition(":")
    source = SOURCES.get(prefix + colon)
    if source is None or bool(argument) != bool(colon):
        known = ", ".join(pattern for pattern, _ in data_sets())
        raise UsageError(f"expected a data set ({known}), got {name!r}")
    if image_size is not None and image_size < 1:
        raise UsageError(f"expected an image size of at least 1, got {image_size}")
    return source.load(Request(name, argument, image_size, stream_above))
