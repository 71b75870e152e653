"""Data sets held in memory as 8-bit tensors, decoded once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from slimprune.data.arrays import check_images, check_labels_named, check_part, check_parts_agree
from slimprune.data.augmentation import Augmentation
from slimprune.data.encoded_images import ChosenImages, EncodedImages
from slimprune.data.image_data import ImageData, Part
from slimprune.data.statistics import normalisation_for
from slimprune.data.targets import KINDS, check_box_classes, check_class_maps, check_targets, number_of_outputs
from slimprune.errors import DataError, UsageError
from slimprune.types import TaskName

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
        train_files: Files of the training images, if a resized centre of each is held; None otherwise.
    """

    parts: dict[Part, tuple[Tensor, Tensor]]
    train_files: EncodedImages | None = None

    def files(self) -> EncodedImages | None:
        """Return the files of the training images, if these are resized."""
        return self.train_files

    def store(self, part: Part, device: torch.device) -> TensorStore:
        """Move one part to the device."""
        images, targets = self.parts[part]
        return TensorStore(images.to(device), targets.to(device))

    def with_training_part(self, chosen: Tensor) -> Self:
        """Return the same data set with only the training samples of these indices, int64 [K]."""
        images, targets = self.parts["train"]
        files = self.train_files and ChosenImages(self.train_files, tuple(chosen.tolist()))
        train = (images[chosen], targets[chosen])
        return replace(self, train_size=len(chosen), parts={**self.parts, "train": train}, train_files=files)

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
        task: TaskName | None = None,
    ) -> Self:
        """Create a data set from tensors.

        Args:
            name: Name of the set in reports.
            train_images: Images, uint8 [N, C, H, W].
            train_targets: Labels int64 [N], or masks uint8 [N, 1, H, W] of 0 and 1.
            test_images: Images, uint8 [M, C, H, W].
            test_targets: Labels int64 [M], or masks uint8 [M, 1, H, W] of 0 and 1.
            class_names: One name per label; by default "0", "1", ... up to the largest training label, or "foreground".
                For other tasks one per column of labels or values, class of pixels, or channel of a target.
            augmentation: Random changes of training images; none by default. Crops are not possible with masks.
            task: Task whose targets these are, for targets other than labels [N] and masks: `multi-label` (uint8
                [N, K] of 0 and 1), `regression` (float32 [N, K]), `semantic-segmentation` (classes of pixels, uint8
                [N, 1, H, W], 255 to ignore), `image-to-image` (uint8 [N, C, H, W]) or `detection` (float32 [N, M, 5],
                class or -1 for none, x1, y1, x2, y2 in pixels).

        Raises:
            DataError: If a shape, type or value is not as described.
            UsageError: If the augmentation crops images with masks, or turns images that are not square.
        """
        train, test = (train_images, train_targets), (test_images, test_targets)
        masks = train_targets.ndim > 1 if task is None else KINDS[task].moves
        task = task or ("segmentation" if masks else "classification")
        for part, where in ((train, f"{name} (train)"), (test, f"{name} (test)")):
            check_part_for(task, *part, where=where)
        check_parts_agree(train, test, where=name)
        class_names = class_names or names_of(task, train_targets)
        for (_, targets), where in ((train, f"{name} (train)"), (test, f"{name} (test)")):
            check_named(task, targets, len(class_names), where)
        augmentation = augmentation or Augmentation()
        if masks and augmentation.crop_padding:
            raise UsageError(f"expected no crop for images with masks, got crop_padding {augmentation.crop_padding}")
        if KINDS[task].mirrored is not None and (augmentation.crop_padding or augmentation.turn):
            raise UsageError(f"expected no crop and no turn for images with boxes, got {augmentation}")
        height, width = train_images.shape[2:]
        if augmentation.turn and height != width:
            raise UsageError(f"expected square images to turn, got {height}x{width}")
        mean, std = normalisation_for(task, torch.split(train_images, STATISTICS_CHUNK))
        return cls(
            name=name,
            task=task,
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


def check_part_for(task: TaskName, images: Tensor, targets: Tensor, where: str) -> None:
    """Check the images and targets of one part of a data set for a task.

    Raises:
        DataError: If they are not as `TensorData.from_arrays` describes them.
        UsageError: If there are no targets of that task.
    """
    if task not in KINDS:
        raise UsageError(f"expected a task of data ({', '.join(KINDS)}), got {task!r}")
    if task in ("classification", "segmentation"):
        return check_part(images, targets, where)
    check_images(images, where)
    return check_targets(task, images, targets, where)


def names_of(task: TaskName, targets: Tensor) -> tuple[str, ...]:
    """Return the default names of labels, classes, values or channels of the training targets."""
    if task == "segmentation":
        return MASK_CLASS_NAMES
    if task == "classification":
        return _numbered(targets)
    return tuple(map(str, range(number_of_outputs(task, targets))))


def check_named(task: TaskName, targets: Tensor, count: int, where: str) -> None:
    """Check that targets have no more labels, classes, values or channels than there are names.

    Raises:
        DataError: If they have.
    """
    if task == "classification":
        check_labels_named(targets, count, where)
    elif task == "semantic-segmentation":
        check_class_maps(targets, count, where)
    elif task == "detection":
        check_box_classes(targets, count, where)
    elif task != "segmentation" and targets.shape[1] != count:
        raise DataError(f"expected {count} columns or channels of targets in {where}, got {targets.shape[1]}")


def _numbered(labels: Tensor) -> tuple[str, ...]:
    return tuple(str(label) for label in range(int(labels.max()) + 1))
