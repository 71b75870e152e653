"""Data sets too large for memory, decoded by worker processes while they are read."""

from dataclasses import dataclass, replace
from typing import Self, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from slimprune.data.augmentation import Augmentation, default_augmentation
from slimprune.data.encoded_images import ChosenImages, EncodedImages, whole_files
from slimprune.data.image_data import ImageData, Part
from slimprune.data.statistics import normalisation_for
from slimprune.data.streamed_store import Samples, StreamedStore, default_workers
from slimprune.data.targets import KINDS
from slimprune.data.tensor_data import TensorData
from slimprune.types import TaskName

STREAM_ABOVE = 2 * 1024**3
"""Decoded size in bytes above which a data set is not held in memory."""

STATISTICS_SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class StreamedData(ImageData):
    """A data set that is decoded while it is read.

    Attributes:
        parts: Samples of "train" and "test".
        workers: Number of decoding processes.
    """

    parts: dict[Part, Samples]
    workers: int

    @property
    def decoding_workers(self) -> int:
        """Number of processes that decode images while they are read."""
        return self.workers

    def store(self, part: Part, device: torch.device) -> StreamedStore:
        """Open one part."""
        return StreamedStore(self.parts[part], device, self.workers)

    def files(self) -> EncodedImages | None:
        """Return the files of the training images, if these are resized."""
        return whole_files(self.parts["train"])

    def with_training_part(self, chosen: Tensor) -> Self:
        """Return the same data set with only the training samples of these indices, int64 [K]."""
        samples = self.parts["train"]
        train: Samples = Subset(cast(Dataset[tuple[Tensor, Tensor]], samples), chosen.tolist())
        if isinstance(samples, EncodedImages):
            train = ChosenImages(samples, tuple(chosen.tolist()))
        return replace(self, train_size=len(chosen), parts={**self.parts, "train": train})

    @classmethod
    def from_samples(
        cls,
        name: str,
        train: Samples,
        test: Samples,
        class_names: tuple[str, ...],
        augmentation: Augmentation,
        workers: int | None = None,
        task: TaskName | None = None,
    ) -> Self:
        """Create a data set from samples, whose images must have one shape.

        Mean and standard deviation are those of 1,000 evenly spaced training images, or of all if there are fewer.

        Args:
            name: Name of the set in reports.
            train: Training samples, at least one.
            test: Test samples, at least one.
            class_names: One name per label; a single one for masks.
            augmentation: Random changes of training images.
            workers: Number of decoding processes; by default one less than the number of CPU cores.
            task: Task whose targets these are, see `TensorData.from_arrays`; by default by their shape, labels or
                masks.

        Raises:
            DataError: If a sample that is needed for the statistics cannot be decoded.
        """
        chosen = torch.linspace(0, len(train) - 1, min(STATISTICS_SAMPLES, len(train))).round().long().tolist()
        image, target = train[0]
        task = task or ("segmentation" if target.ndim else "classification")
        mean, std = normalisation_for(task, (train[index][0][None] for index in chosen))
        return cls(
            name=name,
            task=task,
            class_names=class_names,
            channels=image.shape[0],
            height=image.shape[1],
            width=image.shape[2],
            mean=mean,
            std=std,
            augmentation=augmentation,
            train_size=len(train),
            test_size=len(test),
            parts={"train": train, "test": test},
            workers=default_workers() if workers is None else workers,
        )


def hold_or_stream(
    name: str,
    train: Samples,
    test: Samples,
    class_names: tuple[str, ...],
    stream_above: int = STREAM_ABOVE,
    *,
    task: TaskName | None = None,
    augmentation: Augmentation | None = None,
) -> TensorData | StreamedData:
    """Decode all samples now if they need at most `stream_above` bytes; otherwise decode them while reading.

    Args:
        name: Name of the set in reports.
        train: Training samples, at least one.
        test: Test samples, at least one.
        class_names: One name per label; a single one for masks.
        stream_above: Limit in bytes on the decoded images and masks of both parts.
        task: See `StreamedData.from_samples`.
        augmentation: Random changes of training images; by default those that suit photographs, or none if they would
            change the targets of the task.

    Raises:
        DataError: If a sample cannot be decoded.
    """
    image, target = train[0]
    if augmentation is None:
        fixed = task is not None and not KINDS[task].flips
        usual = default_augmentation(image.shape[1], image.shape[2], segmentation=target.ndim > 0)
        augmentation = Augmentation() if fixed else usual
    if (len(train) + len(test)) * (image.nbytes + target.nbytes) > stream_above:
        return StreamedData.from_samples(name, train, test, class_names, augmentation, task=task)
    decoded = (*_decode_all(train), *_decode_all(test))
    held = TensorData.from_arrays(name, *decoded, class_names=class_names, augmentation=augmentation, task=task)
    return replace(held, train_files=whole_files(train))


def _decode_all(samples: Samples) -> tuple[Tensor, Tensor]:
    image, target = samples[0]
    images = torch.empty((len(samples), *image.shape), dtype=image.dtype)
    targets = torch.empty((len(samples), *target.shape), dtype=target.dtype)
    for index in range(len(samples)):
        images[index], targets[index] = samples[index]
    return images, targets
