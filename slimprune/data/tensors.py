"""Data stored as 8-bit tensors: DIR/train.safetensors and DIR/test.safetensors."""

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from slimprune.bounded import check_regular
from slimprune.data.arrays import check_image_size, check_labels_named, check_part, check_parts_agree
from slimprune.data.augmentation import default_augmentation
from slimprune.data.tensor_data import TensorData
from slimprune.errors import DataError

KEYS = ("images", "labels", "masks")
WHITE = 255


def load_tensors(name: str, source: str, image_size: int | None = None) -> TensorData:
    """Load uint8 `images` [N, C, H, W] with int64 `labels` [N], or with uint8 `masks` [N, 1, H, W].

    Masks hold 0 and 1, or 0 and 255. The number of classes is the largest training label plus 1. The default
    augmentation applies: flips, and shifts if there are no masks.

    Args:
        name: Name of the set in reports.
        source: The folder.
        image_size: None or the side of the images, in pixels.

    Raises:
        DataError: If a file is missing or unreadable, or its content is not as described; the message names the file.
        UsageError: If another image size is requested.
    """
    folder = Path(os.path.expanduser(source))
    train_file, test_file = folder / "train.safetensors", folder / "test.safetensors"
    train, test = _read(train_file), _read(test_file)
    check_parts_agree(train, test, where=f"'{train_file}' and '{test_file}'")
    images, targets = train
    masks = targets.ndim > 1
    if not masks:
        check_labels_named(test[1], int(targets.max()) + 1, where=f"'{test_file}'")
    height, width = images.shape[2:]
    check_image_size(name, (height, width), image_size)
    return TensorData.from_arrays(name, *train, *test, augmentation=default_augmentation(height, width, masks))


def _read(file: Path) -> tuple[Tensor, Tensor]:
    try:
        check_regular(file)
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"expected a readable safetensors file '{file}', got {reason}") from error
    found = sorted(arrays)
    if found not in (["images", "labels"], ["images", "masks"]):
        raise DataError(f"expected images and either labels or masks in '{file}', got {', '.join(found) or 'nothing'}")
    images = arrays["images"]
    targets = arrays["labels"] if "labels" in arrays else _zero_one(arrays["masks"])
    check_part(images, targets, where=f"'{file}'")
    return images, targets


def _zero_one(masks: Tensor) -> Tensor:
    """Convert masks of 0 and 255 to 0 and 1; others are returned unchanged."""
    only_white = bool(((masks == 0) | (masks == WHITE)).all())
    return masks.clamp(max=1) if only_white else masks
