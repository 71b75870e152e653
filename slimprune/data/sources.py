"""Registry of data sets, and loading of a data set by its name."""

from collections.abc import Callable
from typing import TypeVar

from slimprune.bounded import LARGEST_SIDE
from slimprune.data.arrays import check_image_size
from slimprune.data.image_data import ImageData
from slimprune.data.streamed_data import STREAM_ABOVE
from slimprune.errors import DataError, UsageError
from slimprune.registry import Registry, call_with, importable, kind_of

Loader = Callable[..., ImageData]
"""Function that loads a data set from those of `name`, `source`, `image_size` and `stream_above` that it accepts."""

Function = TypeVar("Function", bound=Loader)


def register(name: str, description: str, *, takes: str = "") -> Callable[[Function], Function]:
    """Return a decorator that registers a function returning `ImageData` as the data set `name`.

    The function receives those of these arguments that its signature names: `name`, the whole name as the user gave it;
    `source`, the text after the colon; and `image_size`, the side in pixels that the user requests, or None.

    Args:
        name: A name that is not taken.
        description: One line for users.
        takes: Placeholder of the text after the name and a colon, such as "DIR"; by default there is no such text.

    Raises:
        UsageError: If the name is taken.
    """

    def add(loader: Function) -> Function:
        SOURCES.add(name, description, loader, module=loader.__module__, takes=takes)
        return loader

    return add


def data_sets() -> list[tuple[str, str]]:
    """List the patterns of data set names, each with a description."""
    return SOURCES.rows()


def is_user_code(name: str) -> bool:
    """Return whether the name refers to a user's loader, `file.py:load` or `package.module:load`."""
    return SOURCES.is_user_code(name)


def load(name: str, *, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load a data set by its name.

    Args:
        name: One of the patterns of `data_sets()`, or the user's own "path/to/file.py:load" or "package.module:load":
            a function that returns an `ImageData`, such as a `TensorData`. It receives those of `name`, `image_size`
            and `stream_above` that its signature names.
        image_size: Side in pixels that images are resized and cropped to; optional for every data set.
        stream_above: Decoded size in bytes above which image files are decoded each time they are read.

    Raises:
        UsageError: If the name is unknown, or the image size is not positive or does not fit the data.
        DataError: If the data is missing, empty or unreadable, or the user's function fails.
    """
    key, source = SOURCES.split(name)
    entry = SOURCES.entry(key)
    if entry is not None and (name.endswith(":") or (entry.module and bool(source) != bool(entry.takes))):
        raise SOURCES.unknown(name)
    loader = SOURCES.find(key)
    if image_size is not None and image_size < 1:
        raise UsageError(f"expected an image size of at least 1, got {image_size}")
    if image_size is not None and image_size > LARGEST_SIDE:
        raise UsageError(f"expected an image size of at most {LARGEST_SIDE}, got {image_size}")
    offered: dict[str, object] = {"name": name, "image_size": image_size, "stream_above": stream_above}
    with importable(name):
        data = call_with(
            loader, {**offered, "source": source} if source else offered, f"data loader {name!r}", DataError
        )
    if not isinstance(data, ImageData):
        raise DataError(f"expected data loader {name!r} to return an ImageData, got {type(data).__name__}")
    if entry is None or not entry.built_in:
        check_image_size(name, (data.height, data.width), image_size)
    return data


def _as_loader(name: str, found: object) -> Loader:
    if not callable(found):
        raise DataError(f"expected data loader {name!r} to be a function, got {kind_of(found)}")
    loader: Loader = found
    return loader


SOURCES: Registry[Loader] = Registry("a data set", "slimprune.data", "a data loader", _as_loader, failure=DataError)
SOURCES.declare(
    "digits",
    "1,797 handwritten digits that come with slimprune, 32x32, 10 classes",
    "slimprune.data.digits:load_digits",
)
for _classes in (10, 100):
    SOURCES.declare(
        f"cifar{_classes}",
        f"60,000 photographs, 32x32, {_classes} classes, downloaded on first use",
        "slimprune.data.cifar:load_cifar",
    )
SOURCES.declare(
    "folder",
    "image files by class, as DIR/train/CLASS/* and DIR/val/CLASS/* (or DIR/test), or with masks or numbers",
    "slimprune.data.folder:load_folder",
    takes="DIR",
)
SOURCES.declare(
    "hf",
    "a Hugging Face data set or a folder of its files: images with labels, masks or numbers",
    "slimprune.data.huggingface:load_huggingface",
    takes="NAME_OR_DIR",
)
SOURCES.declare(
    "parquet",
    "what hf: reads from a folder of train*.parquet and test*.parquet, without a converted copy",
    "slimprune.data.huggingface:load_parquet",
    takes="DIR",
)
SOURCES.declare(
    "tiny-imagenet",
    "Tiny-ImageNet as distributed: DIR/train, DIR/val with val_annotations.txt, DIR/wnids.txt",
    "slimprune.data.tiny_imagenet:load_tiny_imagenet",
    takes="DIR",
)
SOURCES.declare(
    "cell-tracking",
    "a 2D set of the Cell Tracking Challenge as distributed: DIR/01/t*.tif, DIR/01_GT/SEG/man_seg*.tif",
    "slimprune.data.cell_tracking:load_cell_tracking",
    takes="DIR",
)
SOURCES.declare(
    "webdataset",
    "tar files of images and class numbers, as DIR/train-*.tar and DIR/val-*.tar (or DIR/test-*.tar)",
    "slimprune.data.shards:load_shards",
    takes="DIR",
)
SOURCES.declare(
    "coco",
    "images with boxes in COCO's form, such as DIR/annotations/instances_train2017.json and DIR/train2017/*",
    "slimprune.data.coco:load_coco",
    takes="DIR",
)
SOURCES.declare(
    "yolo",
    "images with boxes in the form of ultralytics: a YAML file with path, train, val and names",
    "slimprune.data.yolo:load_yolo",
    takes="DATA.yaml",
)
SOURCES.declare(
    "tensors",
    "DIR/train.safetensors and DIR/test.safetensors with images and labels, masks or other targets",
    "slimprune.data.tensors:load_tensors",
    takes="DIR",
)
