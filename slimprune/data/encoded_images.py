"""Image files with labels, wherever their bytes are, decoded one by one."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from slimprune.data.decoding import to_tensor
from slimprune.data.resized_crops import ResizedCrops
from slimprune.preprocessing import Encoded, read_reduced, read_rgb


class EncodedImages(ABC):
    """Image files with labels.

    Attributes:
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
    """

    size: int | None

    @property
    def labelled(self) -> bool:
        """Whether targets are labels; others have to be cropped with their images."""
        return True

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return a random order of the images that can be read in it, int64 [N]."""
        return torch.randperm(len(self), generator=generator)

    @abstractmethod
    def encoded(self, index: int) -> tuple[Encoded, str, int]:
        """Return the file of an image, its name in error messages, and its class index."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one image into uint8 [3, H, W] and int64 [].

        Raises:
            DataError: If it cannot be read.
        """
        encoded, where, label = self.encoded(index)
        return to_tensor(to_size(encoded, where, self.size)), torch.tensor(label)


@dataclass(frozen=True)
class ChosenImages(EncodedImages):
    """Some of a set of image files.

    Attributes:
        files: All of them.
        indices: Indices of those that are chosen.
    """

    files: EncodedImages
    indices: tuple[int, ...]

    @property
    def size(self) -> int | None:  # type: ignore[override]
        """Side in pixels that images are resized and cropped to."""
        return self.files.size

    @property
    def labelled(self) -> bool:
        """Whether targets are labels."""
        return self.files.labelled

    def __len__(self) -> int:
        """Return the number of chosen images."""
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one image."""
        return self.files[self.indices[index]]

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return a random order of the chosen images that can be read in it, int64 [N]."""
        place = torch.full((len(self.files),), -1)
        place[list(self.indices)] = torch.arange(len(self))
        order = place[self.files.shuffled(generator)]
        return order[order >= 0]

    def encoded(self, index: int) -> tuple[Encoded, str, int]:
        """Return the file of an image, its name in error messages, and its class index."""
        return self.files.encoded(self.indices[index])


@dataclass(frozen=True)
class CroppedFiles:
    """Random crops of image files, each resized to the size of the stored images; see `ResizedCrops`.

    Attributes:
        files: The files.
        smallest: Smallest share of a whole image's area, in (0, 1).
    """

    files: EncodedImages
    smallest: float

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return a random order of the files that can be read in it, int64 [N]."""
        return self.files.shuffled(generator)

    def __getitem__(self, place: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Decode the crop of one image, by index and seed, into uint8 [3, H, W] and int64 [].

        Raises:
            DataError: If it cannot be read.
        """
        index, seed = place
        encoded, where, label = self.files.encoded(index)
        assert self.files.size is not None
        image = random_crop(encoded, where, self.files.size, self.smallest, seed)
        return to_tensor(image), torch.tensor(label)


def whole_files(samples: object) -> EncodedImages | None:
    """Return samples that are image files with labels and of which a resized centre is stored; None for others."""
    if isinstance(samples, EncodedImages) and samples.size is not None and samples.labelled:
        return samples
    return None


def random_crop(encoded: Encoded, where: str, size: int, smallest: float, seed: int) -> Image.Image:
    """Decode a random crop of an image file as RGB, resized to a square.

    Without reduction in decoding, the result is that of `torchvision.transforms.v2.RandomResizedCrop`.

    Args:
        encoded: Path or bytes of the file.
        where: Name of the image in error messages.
        size: Side of the square in pixels.
        smallest: Smallest share of the image's area, in (0, 1).
        seed: Seed of the crop.

    Raises:
        DataError: If the file cannot be decoded.
    """
    top = left = tall = wide = 0

    def enough(height: int, width: int) -> tuple[int, int]:
        nonlocal top, left, tall, wide
        generator = torch.Generator().manual_seed(seed)
        top, left, tall, wide = ResizedCrops(smallest, height, width).draw(generator, 1)[0].tolist()
        return math.ceil(size * height / tall), math.ceil(size * width / wide)

    reduced = read_reduced(encoded, where, enough)
    return reduced.resized_crop(top, left, tall, wide, size, Image.Resampling.BILINEAR)


def to_size(encoded: Encoded, where: str, size: int | None) -> Image.Image:
    """Decode an image file as RGB and bring it to a square; large JPEG files are decoded to no more than it takes.

    Args:
        encoded: Path or bytes of the file.
        where: Name of the image in error messages.
        size: Side of the square in pixels; None leaves the image unchanged.

    Raises:
        DataError: If the file cannot be decoded.
    """
    if size is None:
        return read_rgb(encoded, where)
    return read_reduced(encoded, where, lambda *whole: (size, size)).filled(size, size, Image.Resampling.BILINEAR)
