"""Image files with labels, wherever their bytes are, decoded one by one."""

from abc import ABC, abstractmethod

import torch
from PIL import Image
from torch import Tensor

from slimprune.data.decoding import to_tensor
from slimprune.preprocessing import Encoded, read_reduced, read_rgb


class EncodedImages(ABC):
    """Image files with labels.

    Attributes:
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
    """

    size: int | None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

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
