"""Random crops, flips and turns, drawn for many images at once and applied to a batch without a loop over images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SMALL_IMAGE = 64
"""Longest side, in pixels, up to which an image counts as small."""


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        crop_padding: An image is moved by up to this many pixels along each axis, evenly drawn, which is a random
            crop of the image padded on all sides. What moves in is zero after normalisation, that is the mean colour
            of the training images.
        flip: Mirror left and right with probability 1/2; for segmentation also top and bottom.
        turn: Exchange rows and columns of square images with probability 1/2, before they are moved and mirrored. With
            both flips, each of the eight symmetric positions of a square is as likely as any other.
    """

    crop_padding: int = 0
    flip: bool = False
    turn: bool = False


@dataclass(frozen=True)
class Draws:
    """The random choices for n images, each of shape [n].

    Attributes:
        down: Rows by which the crop lies below the image's own frame, int64.
        right: Columns by which it lies to the right, int64.
        mirrored: Whether left and right are exchanged, bool.
        upended: Whether top and bottom are exchanged, bool.
        turned: Whether rows and columns are exchanged before all that, bool.
    """

    down: Tensor
    right: Tensor
    mirrored: Tensor
    upended: Tensor
    turned: Tensor

    def to(self, device: torch.device) -> "Draws":
        """Return the same choices on a device."""
        return Draws(*(part.to(device) for part in self._parts()))

    def split(self, size: int) -> "list[Draws]":
        """Return the choices for consecutive batches of `size` images."""
        return [Draws(*parts) for parts in zip(*(torch.split(part, size) for part in self._parts()), strict=True)]

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.down, self.right, self.mirrored, self.upended, self.turned


def default_augmentation(height: int, width: int, segmentation: bool) -> Augmentation:
    """Return what suits photographs: flips, and for classification a crop.

    Small images (up to 64 pixels) are padded by 4, the usual choice for CIFAR. Larger ones are padded by an eighth of
    their shorter side, the same share as 4 of 32. Images with masks are flipped, and turned if they are square.
    """
    if segmentation:
        return Augmentation(crop_padding=0, flip=True, turn=height == width)
    small = max(height, width) <= SMALL_IMAGE
    return Augmentation(crop_padding=4 if small else min(height, width) // 8, flip=True)


def seeded_generator(seed: int, stream: int, index: int) -> torch.Generator:
    """Return a CPU generator that depends on (seed, stream, index) only; unlike triples are independent.

    Args:
        seed: The user's seed, >= 0.
        stream: What the numbers are for, >= 0.
        index: Epoch or batch number, >= 0.
    """
    state = np.random.SeedSequence(entropy=seed, spawn_key=(stream, index)).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


def draw(generator: torch.Generator, count: int, augmentation: Augmentation, segmentation: bool) -> Draws:
    """Draw the choices for `count` images; the generator moves on by the same amount whatever is chosen from."""
    reach = augmentation.crop_padding
    down, right = torch.randint(-reach, reach + 1, (2, count), generator=generator)
    mirrored, upended = torch.rand((2, count), generator=generator) < 0.5
    turned = torch.rand(count, generator=generator) < 0.5
    upside = augmentation.flip and segmentation
    return Draws(down, right, mirrored & augmentation.flip, upended & upside, turned & augmentation.turn)


def turn(images: Tensor, draws: Draws) -> Tensor:
    """Exchange rows and columns of those images of a batch that are to be turned.

    Args:
        images: [B, C, S, S], any dtype.
        draws: For B images, on the images' device.

    Returns:
        [B, C, S, S].
    """
    return torch.where(draws.turned[:, None, None, None], images.mT, images)


def move(images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Crop and flip each image of a batch by its own draw.

    Args:
        images: [B, C, H, W], any dtype.
        draws: For B images, on the images' device.

    Returns:
        The moved images [B, C, H, W], edge pixels repeated where the crop leaves the image, and where it does not:
        bool [B, 1, H, W].
    """
    _, channels, height, width = images.shape
    rows = _positions(height, draws.down, draws.upended)
    columns = _positions(width, draws.right, draws.mirrored)
    inside = _within(rows, height)[:, None, :, None] & _within(columns, width)[:, None, None, :]
    rows = rows.clamp(0, height - 1)[:, None, :, None].expand(-1, channels, -1, width)
    columns = columns.clamp(0, width - 1)[:, None, None, :].expand(-1, channels, height, -1)
    return images.gather(2, rows).gather(3, columns), inside


def _positions(size: int, offset: Tensor, reverse: Tensor) -> Tensor:
    """Return where each output position of an axis comes from: int64 [B, size]."""
    forward = torch.arange(size, device=offset.device)
    return torch.where(reverse[:, None], size - 1 - forward, forward) + offset[:, None]


def _within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)
