"""Data sets held in memory as 8-bit tensors, decoded once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from slimprune.data.arrays import check_labels_named, check_part, check_parts_agree
from slimprune.data.augmentation import Augmentation
from slimprune.data.image_data import ImageData, Part
from slimprune.data.statistics import channel_statistics
from slimprune.errors import UsageError

STATISTICS_CHUNK = 4096
MASK_CLASS_NAMES = ("foreground",)


@dataclass(frozen=True, eq=False)
class TensorStore:
    """One part of a data set on one device.

    Attributes:
        images: Images, uint8 [N, C, H, W].
        targets: Labels int64 [N] or masks uint8 [N, 1, H, W].
    """

    images: Tensor
    targets: Tensor

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.images.device

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.images)

    def fetch(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the samples in `order` (int64 [K]) batch by batch; `order` is moved to the device once."""
        for indices in torch.split(order.to(self.device), batch_size):
            yield self.images[indices], self.targets[indices]


@dataclass(frozen=True, eq=False)
class TensorData(ImageData):
    """A data set in memory; its parts are moved to the device as a whole.

    Attributes:
        parts: Images (uint8 [N, C, H, W]) and targets (int64 [N] or uint8 [N, 1, H, W]) of "train" and "test".
    """

    parts: dict[Part, tuple[Tensor, Tensor]]

    def store(self, part: Part, device: torch.device) -> TensorStore:
        """Move one part to the device."""
        images, targets = self.parts[part]
        return TensorStore(images.to(device), targets.to(device))

    def with_training_part(self, chosen: Tensor) -> Self:
        """Return the same data set with only the training samples of these indices, int64 [K]."""
        images, targets = self.parts["train"]
        return replace(self, train_size=len(chosen), parts={**self.parts, "train": (images[chosen], targets[chosen])})

    @classmethod
    def from_arrays(
        cls,
        name: str,
        train_images: Tensor,
        train_targets: Tensor,
        test_images: Tensor,
        test_targets: Tensor,
        class_names: tuple[str, ...] | None = None,
        augmentation: Augmentation | None = None,
    ) -> Self:
        """Create a data set from tensors.

        Args:
            name: Name of the set in reports.
            train_images: Images, uint8 [N, C, H, W].
            train_targets: Labels int64 [N], or masks uint8 [N, 1, H, W] of 0 and 1.
            test_images: Images, uint8 [M, C, H, W].
            test_targets: Labels int64 [M], or masks uint8 [M, 1, H, W] of 0 and 1.
            class_names: One name per label; by default "0", "1", ... up to the largest training label, or "foreground".
            augmentation: Random changes of training images; none by default. Crops are not possible with masks.

        Raises:
            DataError: If a shape, type or value is not as described.
            UsageError: If the augmentation crops images with masks, or turns images that are not square.
        """
        train, test = (train_images, train_targets), (test_images, test_targets)
        check_part(*train, where=f"{name} (train)")
        check_part(*test, where=f"{name} (test)")
        check_parts_agree(train, test, where=name)
        masks = train_targets.ndim > 1
        class_names = class_names or (MASK_CLASS_NAMES if masks else _numbered(train_targets))
        if not masks:
            check_labels_named(train_targets, len(class_names), where=f"{name} (train)")
            check_labels_named(test_targets, len(class_names), where=f"{name} (test)")
        augmentation = augmentation or Augmentation()
        if masks and augmentation.crop_padding:
            raise UsageError(f"expected no crop for images with masks, got crop_padding {augmentation.crop_padding}")
        height, width = train_images.shape[2:]
        if augmentation.turn and height != width:
            raise UsageError(f"expected square images to turn, got {height}x{width}")
        mean, std = channel_statistics(torch.split(train_images, STATISTICS_CHUNK))
        return cls(
            name=name,
            task="segmentation" if masks else "classification",
            class_names=class_names,
            channels=train_images.shape[1],
            height=height,
            width=width,
            mean=mean,
            std=std,
            augmentation=augmentation,
            train_size=len(train_images),
            test_size=len(test_images),
            parts={"train": train, "test": test},
        )


def _numbered(labels: Tensor) -> tuple[str, ...]:
    return tuple(str(label) for label in range(int(labels.max()) + 1))
