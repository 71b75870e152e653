"""Data stored as tensors: DIR/train.safetensors and DIR/test.safetensors."""

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from slimprune.bounded import check_regular
from slimprune.data.arrays import check_image_size, check_parts_agree
from slimprune.data.augmentation import Augmentation, default_augmentation
from slimprune.data.targets import KINDS
from slimprune.data.tensor_data import TensorData, check_named, check_part_for, names_of
from slimprune.errors import DataError
from slimprune.types import TaskName

KEYS = tuple(dict.fromkeys(kind.key for kind in KINDS.values()))
WHITE = 255


def load_tensors(name: str, source: str, image_size: int | None = None) -> TensorData:
    """Load uint8 `images` [N, C, H, W] with targets under the key of their task.

    These are int64 `labels` [N]; uint8 `labels` [N, K] of 0 and 1 that may occur together; uint8 `masks` [N, 1, H, W]
    of 0 and 1 or of 0 and 255; uint8 `classes` [N, 1, H, W] of pixels, with 255 for those to ignore; float32 `values`
    [N] or [N, K]; uint8 images `targets` [N, C, H, W]; or float32 `boxes` [N, M, 5], each a class or -1 for none, x1,
    y1, x2 and y2 in pixels. The number of classes is the largest one in training plus 1. The default augmentation
    applies: flips, and shifts if targets are neither images nor boxes; none with `values`.

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
    (task, train), (other, test) = _read(train_file), _read(test_file)
    check_parts_agree(train, test, where=f"'{train_file}' and '{test_file}'")
    if task != other:
        raise DataError(f"expected targets for {task} in '{test_file}', as in training, got those for {other}")
    kind, (height, width) = KINDS[task], train[0].shape[2:]
    check_named(task, test[1], len(names_of(task, train[1])), where=f"'{test_file}'")
    check_image_size(name, (height, width), image_size)
    augmentation = default_augmentation(height, width, kind.moves) if kind.flips else Augmentation()
    if kind.mirrored is not None:
        augmentation = Augmentation(flip=True)
    return TensorData.from_arrays(name, *train, *test, augmentation=augmentation, task=task)


def _read(file: Path) -> tuple[TaskName, tuple[Tensor, Tensor]]:
    try:
        check_regular(file)
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"expected a readable safetensors file '{file}', got {reason}") from error
    found = sorted(arrays)
    keys = [key for key in KEYS if sorted(["images", key]) == found]
    if not keys:
        listed = f"{', '.join(KEYS[:-1])} or {KEYS[-1]}"
        raise DataError(f"expected images and {listed} in '{file}', got {', '.join(found) or 'nothing'}")
    images, targets = arrays["images"], _stored(keys[0], arrays[keys[0]])
    task = _task(keys[0], targets)
    check_part_for(task, images, targets, where=f"'{file}'")
    return task, (images, targets)


def _task(key: str, targets: Tensor) -> TaskName:
    tasks = [task for task, kind in KINDS.items() if kind.key == key]
    return tasks[-1] if key == "labels" and targets.ndim == 2 else tasks[0]


def _stored(key: str, targets: Tensor) -> Tensor:
    if key == "masks":
        return _zero_one(targets)
    return targets[:, None] if key == "values" and targets.ndim == 1 else targets


def _zero_one(masks: Tensor) -> Tensor:
    """Convert masks of 0 and 255 to 0 and 1; others are returned unchanged."""
    only_white = bool(((masks == 0) | (masks == WHITE)).all())
    return masks.clamp(max=1) if only_white else masks
