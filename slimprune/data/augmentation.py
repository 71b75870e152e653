"""Random crops, flips and transpositions, drawn and applied for a whole batch without a loop over images."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

SMALL_IMAGE = 64
"""Longest side, in pixels, of an image that counts as small."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes that are applied to training images.

    Attributes:
        crop_padding: Largest shift along each axis in pixels. Shifts are drawn uniformly, which amounts to a random
            crop of the image padded on all sides. The padding is zero after normalisation, that is, the mean colour of
            the training images.
        flip: Whether to flip left and right with probability 1/2; for segmentation also top and bottom.
        turn: Whether to exchange rows and columns of square images with probability 1/2, before shifts and flips.
            Together with both flips, all eight symmetries of a square are equally likely.
    """

    crop_padding: int = 0
    flip: bool = False
    turn: bool = False


@dataclass(frozen=True)
class Draws:
    """Random choices for n images, each of shape [n].

    Attributes:
        down: Number of rows by which the crop is shifted down relative to the image, int64.
        right: Number of columns by which it is shifted to the right, int64.
        mirrored: Whether left and right are exchanged, bool.
        upended: Whether top and bottom are exchanged, bool.
        turned: Whether rows and columns are exchanged before all other changes, bool.
        crops: Crops that are resized to the whole image, after turns, int64 [n, 4]; see `ResizedCrops`. None for none.
    """

    down: Tensor
    right: Tensor
    mirrored: Tensor
    upended: Tensor
    turned: Tensor
    crops: Tensor | None = None

    def to(self, device: torch.device) -> "Draws":
        """Return the same choices on a device."""
        crops = None if self.crops is None else self.crops.to(device)
        return replace(Draws(*(part.to(device) for part in self._parts())), crops=crops)

    def split(self, size: int) -> "list[Draws]":
        """Split the choices into consecutive batches of `size` images."""
        batches = zip(*(torch.split(part, size) for part in self._parts()), strict=True)
        if self.crops is None:
            return [Draws(*parts) for parts in batches]
        return [
            replace(Draws(*parts), crops=crops)
            for parts, crops in zip(batches, torch.split(self.crops, size), strict=True)
        ]

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.down, self.right, self.mirrored, self.upended, self.turned


def default_augmentation(height: int, width: int, segmentation: bool) -> Augmentation:
    """Return an augmentation that suits photographs: flips, and a crop for classification.

    Small images (up to 64 pixels) are padded by 4, the usual choice for CIFAR. Larger ones are padded by an eighth of
    their shorter side, the same proportion as 4 of 32. Images with masks are flipped, and transposed if they are
    square.
    """
    if segmentation:
        return Augmentation(crop_padding=0, flip=True, turn=height == width)
    small = max(height, width) <= SMALL_IMAGE
    return Augmentation(crop_padding=4 if small else min(height, width) // 8, flip=True)


def seeded_generator(seed: int, stream: int, index: int) -> torch.Generator:
    """Return a CPU generator that depends on (seed, stream, index) only; different triples give independent generators.

    Args:
        seed: The user's seed, >= 0.
        stream: Number of the purpose that the random numbers serve, >= 0.
        index: Epoch or batch number, >= 0.
    """
    state = np.random.SeedSequence(entropy=seed, spawn_key=(stream, index)).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


def draw(generator: torch.Generator, count: int, augmentation: Augmentation, segmentation: bool) -> Draws:
    """Draw the choices for `count` images.

    The generator advances by the same amount for every augmentation.
    """
    reach = augmentation.crop_padding
    down, right = torch.randint(-reach, reach + 1, (2, count), generator=generator)
    mirrored, upended = torch.rand((2, count), generator=generator) < 0.5
    turned = torch.rand(count, generator=generator) < 0.5
    upside = augmentation.flip and segmentation
    return Draws(down, right, mirrored & augmentation.flip, upended & upside, turned & augmentation.turn)


def turn(images: Tensor, draws: Draws) -> Tensor:
    """Exchange rows and columns of the images that were drawn for it.

    Args:
        images: Square images [B, C, S, S] of any dtype.
        draws: Choices for B images, on the images' device.

    Returns:
        The images [B, C, S, S].
    """
    return torch.where(draws.turned[:, None, None, None], images.mT, images)


def move(images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Crop and flip each image of a batch according to its own draw.

    Args:
        images: Images [B, C, H, W] of any dtype.
        draws: Choices for B images, on the images' device.

    Returns:
        The moved images [B, C, H, W], with edge pixels repeated where the crop extends beyond the image, and a bool
        mask [B, 1, H, W] that is true where it does not.
    """
    _, channels, height, width = images.shape
    rows = _positions(height, draws.down, draws.upended)
    columns = _positions(width, draws.right, draws.mirrored)
    inside = _within(rows, height)[:, None, :, None] & _within(columns, width)[:, None, None, :]
    rows = rows.clamp(0, height - 1)[:, None, :, None].expand(-1, channels, -1, width)
    columns = columns.clamp(0, width - 1)[:, None, None, :].expand(-1, channels, height, -1)
    return images.gather(2, rows).gather(3, columns), inside


def _positions(size: int, offset: Tensor, reverse: Tensor) -> Tensor:
    """Return the source of each output position along an axis: int64 [B, size]."""
    forward = torch.arange(size, device=offset.device)
    return torch.where(reverse[:, None], size - 1 - forward, forward) + offset[:, None]


def _within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)
