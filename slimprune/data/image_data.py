"""Common interface of data sets, whether in memory or decoded while reading."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from slimprune.data.augmentation import Augmentation, seeded_generator
from slimprune.data.batches import Preparation, ScoringBatches, Store, TestBatches, TrainBatches
from slimprune.data.encoded_images import CroppedFiles, EncodedImages
from slimprune.data.resized_crops import ResizedCrops
from slimprune.data.streamed_store import StreamedStore, default_workers
from slimprune.data.targets import FULL_SCALE, IGNORED_CLASS, KINDS
from slimprune.errors import UsageError
from slimprune.preprocessing import Preprocessing, check_normalisation
from slimprune.types import TaskName

Part = Literal["train", "test"]

COUNTED_TOGETHER = 256
"""Samples that are read at once to count labels."""

SUBSET_STREAM = 2
"""Random stream of the choice of a subset, separate from all other random numbers."""

VALIDATION_STREAM = 3
"""Random stream of the choice of the samples that are held out."""


@dataclass(frozen=True, eq=False)
class ImageData(ABC):
    """Images with labels or masks, in a training and a test part.

    Attributes:
        name: Name as the user gave it.
        task: Task that the targets are for, a key of `slimprune.data.targets.KINDS`.
        class_names: One name per label, class of pixels, value or channel of a target; for one mask the name of the
            object that it marks.
        channels: Channels of an image.
        height: Image height in pixels.
        width: Image width in pixels.
        mean: Mean of the training images per channel, in 0..1.
        std: Standard deviation of the training images per channel, in 0..1.
        augmentation: Random changes of training and scoring images.
        train_size: Number of training samples.
        test_size: Number of test samples.
    """

    name: str
    task: TaskName
    class_names: tuple[str, ...]
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    train_size: int
    test_size: int

    @property
    def classes(self) -> int:
        """Number of labels, classes of pixels, values or channels of a target; 1 for one mask."""
        return len(self.class_names)

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the input of a network that is trained on this data."""
        return Preprocessing(self.mean, self.std, self.height, self.width, class_names=self.class_names)

    @property
    def decoding_workers(self) -> int:
        """Number of processes that decode images while they are read."""
        return default_workers()

    @abstractmethod
    def store(self, part: Part, device: torch.device) -> Store:
        """Open one part for reading batches on `device`."""

    def files(self) -> EncodedImages | None:
        """Return the files of the training images, if a resized centre of each is stored; None otherwise."""
        return None

    def with_fewer(self, train_size: int) -> Self:
        """Return the same data set with only `train_size` of its training samples.

        The samples are drawn at random with a fixed seed, so every call selects the same ones. Mean and standard
        deviation remain those of all samples.

        Raises:
            UsageError: If the size is below 1 or above the number of training samples.
        """
        if not 1 <= train_size <= self.train_size:
            raise UsageError(f"expected a train_size in 1 ... {self.train_size}, got {train_size}")
        chosen = torch.randperm(self.train_size, generator=seeded_generator(0, SUBSET_STREAM, 0))[:train_size]
        return self.with_training_part(chosen.sort().values)

    def split(self, share: float) -> tuple[Self, Self]:
        """Hold out a share of the training samples, drawn at random with a fixed seed.

        Args:
            share: Share to hold out, in (0, 1).

        Returns:
            The data set without these samples in its training part, and the data set with only these. Mean and standard
            deviation remain those of all samples.

        Raises:
            UsageError: If the share is out of range, or one of the parts would be empty.
        """
        if not 0 < share < 1:
            raise UsageError(f"expected a validation share in (0, 1), got {share}")
        held_out = round(share * self.train_size)
        if not 1 <= held_out < self.train_size:
            raise UsageError(f"expected a validation share that leaves both parts of {self.train_size}, got {share}")
        order = torch.randperm(self.train_size, generator=seeded_generator(0, VALIDATION_STREAM, 0))
        chosen, kept = order[:held_out].sort().values, order[held_out:].sort().values
        return self.with_training_part(kept), self.with_training_part(chosen)

    def with_normalisation(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Self:
        """Return the same data set, normalised with another mean and standard deviation per channel, in 0..1.

        Raises:
            UsageError: If there is not one of each per channel, or a value is out of its range.
        """
        check_normalisation(mean, std, self.channels)
        return replace(self, mean=mean, std=std)

    def with_class_names(self, class_names: tuple[str, ...]) -> Self:
        """Return the same data set with other names for its classes.

        Raises:
            UsageError: If there is not one name per class.
        """
        if len(class_names) != self.classes:
            raise UsageError(f"expected {self.classes} class names, as {self.name} has classes, got {len(class_names)}")
        return replace(self, class_names=class_names)

    @abstractmethod
    def with_training_part(self, chosen: Tensor) -> Self:
        """Return the same data set with only the training samples of these indices, int64 [K]."""

    def train_batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        augment: bool = True,
        random_resized_crop: float | None = None,
    ) -> TrainBatches:
        """Return shuffled training batches; `set_epoch` selects the epoch.

        Order and augmentation depend on (seed, epoch) alone, so a resumed run sees the same batches as an uninterrupted
        one.

        Args:
            batch_size: Images per batch.
            seed: Seed of order and augmentation.
            device: Device of the batches.
            augment: Whether to augment.
            random_resized_crop: Smallest share of an image, in (0, 1), of which a random crop is resized to the whole
                image, instead of the augmentation's shifts; None for no such crops. Of files whose images are resized,
                crops are taken from the whole image, by worker processes.

        Raises:
            UsageError: If the batch size is below 1, the seed below 0 or the share out of range.
        """
        preparation = self._preparation(device)
        if random_resized_crop is None:
            return TrainBatches(self._open("train", device), preparation, batch_size, seed, augment)
        if not 0 < random_resized_crop < 1:
            raise UsageError(f"expected random_resized_crop in (0, 1), got {random_resized_crop}")
        if KINDS[self.task].mirrored is not None:
            rule = "expected no random_resized_crop for images with boxes"
            raise UsageError(f"{rule}, got {random_resized_crop} for {self.name}")
        if (files := self.files()) is not None and augment:
            unshifted = replace(preparation, augmentation=replace(self.augmentation, crop_padding=0))
            store = StreamedStore(CroppedFiles(files, random_resized_crop), torch.device(device), self.decoding_workers)
            return TrainBatches(store, unshifted, batch_size, seed, augment, seeded=True)
        crops = ResizedCrops(random_resized_crop, self.height, self.width)
        return TrainBatches(self._open("train", device), replace(preparation, crops=crops), batch_size, seed, augment)

    def class_counts(self) -> Tensor:
        """Return the number of training samples of each label, int64 [classes]; for masks of pixels, [2] or [classes].

        Raises:
            UsageError: If the targets have no classes.
        """
        if self.task not in ("classification", "segmentation", "semantic-segmentation"):
            raise UsageError(f"expected labels or masks to count, got {self.name} for {self.task}")
        store = self._open("train", "cpu")
        width = 2 if self.task == "segmentation" else self.classes
        counts = torch.zeros(width, dtype=torch.int64)
        for _, targets in store.fetch(torch.arange(len(store)), COUNTED_TOGETHER):
            known = targets.flatten() if self.task == "classification" else targets[targets != IGNORED_CLASS]
            counts += torch.bincount(known.long(), minlength=width)
        return counts

    def test_batches(self, batch_size: int, *, device: str | torch.device = "cpu", part: Part = "test") -> TestBatches:
        """Return all test samples in fixed order, not augmented.

        Args:
            batch_size: Images per batch.
            device: Device of the batches.
            part: "train" for the training samples instead.

        Raises:
            UsageError: If the batch size is below 1.
        """
        return TestBatches(self._open(part, device), self._preparation(device), batch_size)

    def scoring_batches(
        self, batch_size: int, *, seed: int = 0, device: str | torch.device = "cpu", balanced: bool = False
    ) -> ScoringBatches:
        """Return an endless sequence of augmented training batches; item `t` is the same each time it is requested.

        Args:
            batch_size: Images per batch.
            seed: Seed of the choice and the augmentation.
            device: Device of the batches.
            balanced: Whether a batch holds equally many images of each class.

        Raises:
            UsageError: If the batch size is below 1 or the seed below 0, or the batches cannot be balanced.
        """
        labels = self._labels() if balanced else None
        return ScoringBatches(self._open("train", device), self._preparation(device), batch_size, seed, labels)

    def _labels(self) -> Tensor:
        """Return the label of every training sample, int64 [N]."""
        if self.task != "classification":
            raise UsageError(
                f"expected one label for each image to balance the classes, got {self.name} for {self.task}"
            )
        store = self._open("train", "cpu")
        labels = torch.cat([targets for _, targets in store.fetch(torch.arange(len(store)), COUNTED_TOGETHER)])
        if len(absent := (torch.bincount(labels, minlength=self.classes) == 0).nonzero()):
            raise UsageError(f"expected training images of every class to balance them, got none of {absent[0].item()}")
        return labels

    def samples(self, count: int) -> Tensor:
        """Return the first `count` test images, or all if there are fewer: float32 [count, C, H, W], normalised.

        Raises:
            UsageError: If the count is below 1.
        """
        images, _ = next(iter(self.test_batches(count)))
        return images

    def pixels(self, images: Tensor) -> Tensor:
        """Undo the normalisation: convert float32 [N, C, H, W] to uint8 [N, C, H, W]."""
        mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return (FULL_SCALE * (images * std + mean)).round().clamp(0, FULL_SCALE).to(torch.uint8)

    def _open(self, part: Part, device: str | torch.device) -> Store:
        return self.store(part, torch.device(device))

    def _preparation(self, device: str | torch.device) -> Preparation:
        mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
        return Preparation(mean, std, self.augmentation, KINDS[self.task])
