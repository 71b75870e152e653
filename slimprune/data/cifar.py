"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), downloaded on first use.

torchvision reads these files with pickle. It checks the archive against a known MD5 sum before it unpacks it, and
each file against its own before it opens it.
"""

import os
import shutil
import tarfile
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slimprune.data.arrays import check_image_size
from slimprune.data.augmentation import Augmentation
from slimprune.data.quiet import quiet
from slimprune.data.tensor_data import TensorData
from slimprune.errors import DataError
from slimprune.files import cache_folder

IMAGE_SIZE = 32
DOWNLOAD_ERRORS = (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError)


def load_cifar(name: str, image_size: int | None = None) -> TensorData:
    """Load cifar10 or cifar100: 50,000 training and 10,000 test images, RGB, 32x32 pixels.

    Training images are shifted by up to 4 pixels and flipped left and right.

    Args:
        name: "cifar10" or "cifar100".
        image_size: None or 32.

    Raises:
        DataError: If the files are not in the cache folder and cannot be downloaded.
        UsageError: If another image size is requested.
    """
    check_image_size(name, (IMAGE_SIZE, IMAGE_SIZE), image_size)
    reader, folder = find_reader(name), cache_folder()
    if not _cached(reader, folder):
        _download(name, reader, folder)
    with quiet():
        train, test = reader(folder, train=True), reader(folder, train=False)
    return TensorData.from_arrays(
        name,
        *_arrays(train),
        *_arrays(test),
        class_names=tuple(train.classes),
        augmentation=Augmentation(crop_padding=4, flip=True),
    )


def find_reader(name: str) -> Any:
    """Return torchvision's class for a data set; imported here because the import takes seconds."""
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _arrays(part: Any) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(part.targets)


def _cached(reader: Any, folder: Path) -> bool:
    try:
        with quiet():
            reader(folder, train=False)
    except RuntimeError:  # raised by torchvision for missing files and for wrong MD5 sums
        return False
    return True


def _download(name: str, reader: Any, folder: Path) -> None:
    """Download into a separate folder in the cache; only complete files are moved out of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with quiet(), tempfile.TemporaryDirectory(dir=folder, prefix="download-") as partial:
            reader(partial, download=True)
            target = folder / reader.base_folder
            shutil.rmtree(target, ignore_errors=True)
            os.replace(Path(partial) / reader.base_folder, target)
    except DOWNLOAD_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"expected {name} in {folder} or at {reader.url}, got {reason} (hf:DIR and tensors:DIR take local copies)"
        ) from error
