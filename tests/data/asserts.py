"""What every data set and its batches must satisfy, and small data to try it on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from slimprune.data import Augmentation, Batch, ImageData, TensorData

SHARED_DATA = Path(__file__).parents[2].parent / "shared/data"


def labelled(count: int = 23, size: int = 8, augmentation: Augmentation | None = None) -> TensorData:
    """Random images [3, size, size]; each image's label is its position, in the training and in the test part."""
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randint(0, 256, (2, count, 3, size, size), dtype=torch.uint8, generator=generator)
    positions = torch.arange(count)
    return TensorData.from_arrays("positions", train, positions, test, positions, augmentation=augmentation)


def masked(count: int = 9, size: int = 8) -> TensorData:
    """Random black and white images; each image's mask is the image itself."""
    masks = torch.randint(0, 2, (count, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return TensorData.from_arrays(
        "masks", masks * 255, masks, masks * 255, masks, augmentation=Augmentation(flip=True, turn=True)
    )


def write_image(path: Path, colour: object = (10, 20, 30), size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def random_image(seed: int, width: int = 8, height: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def stored(data: ImageData, images: Tensor) -> Tensor:
    """Undo the normalisation: values 0..255."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    return (images * std + mean) * 255


def assert_equal_batches(first: Iterable[Batch], second: Iterable[Batch]) -> None:
    pairs = list(zip(first, second, strict=True))
    assert pairs
    for (images, targets), (other_images, other_targets) in pairs:
        assert torch.equal(images, other_images)
        assert torch.equal(targets, other_targets)


def assert_describes_itself(data: ImageData) -> None:
    """Numbers, shapes, types and sizes of the batches are what the data set says."""
    images, targets = next(iter(data.train_batches(2)))
    assert images.dtype == torch.float32
    assert images.shape == (2, data.channels, data.height, data.width)
    if data.task == "classification":
        assert (targets.dtype, targets.shape) == (torch.int64, (2,))
        assert int(targets.max()) < data.classes
    else:
        assert (targets.dtype, targets.shape) == (torch.float32, (2, 1, data.height, data.width))
        assert data.classes == 1
        assert set(targets.unique().tolist()) <= {0.0, 1.0}
    assert len(data.mean) == len(data.std) == data.channels
    assert len(data.class_names) == data.classes
    assert sum(len(labels) for _, labels in data.test_batches(2)) == data.test_size
    assert len(data.train_batches(1)) == data.train_size
    assert data.samples(1).shape == (1, data.channels, data.height, data.width)
