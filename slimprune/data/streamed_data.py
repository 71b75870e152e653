"""Data sets too large for memory, decoded by worker processes while they are read."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from slimprune.data.augmentation import Augmentation, default_augmentation
from slimprune.data.image_data import ImageData, Part
from slimprune.data.statistics import channel_statistics
from slimprune.data.tensor_data import TensorData
from slimprune.errors import DataError
from slimprune.interruption import outlast_signals

STREAM_ABOVE = 2 * 1024**3
"""Decoded size in bytes above which a data set is not held in memory."""

STATISTICS_SAMPLES = 1000


class Samples(Protocol):
    """Samples that can be decoded one by one, in any order, in another process."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample into an image uint8 [C, H, W] and a label int64 [] or mask uint8 [1, H, W]."""


@dataclass(frozen=True)
class _Reader:
    """Samples that return a `DataError` as a value; raised in a worker, it would be wrapped in a traceback."""

    samples: Samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | DataError:
        try:
            return self.samples[index]
        except DataError as error:
            return error


def _stack(samples: Sequence[tuple[Tensor, Tensor] | DataError]) -> tuple[Tensor, Tensor] | DataError:
    decoded: list[tuple[Tensor, Tensor]] = []
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
        decoded.append(sample)
    return torch.stack([image for image, _ in decoded]), torch.stack([target for _, target in decoded])


@dataclass(frozen=True, eq=False)
class StreamedStore:
    """One part of a data set, read through a `DataLoader`.

    Attributes:
        samples: Samples to decode.
        device: Device of the batches.
        workers: Number of decoding processes; 0 decodes in the current process.
    """

    samples: Samples
    device: torch.device
    workers: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def fetch(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the samples in `order` (int64 [K]) batch by batch; a single batch is decoded in the current process."""
        indices = [part.tolist() for part in torch.split(order, batch_size)]
        loader: Iterable[tuple[Tensor, Tensor] | DataError] = DataLoader(
            _Reader(self.samples),  # type: ignore[arg-type]
            batch_sampler=indices,
            num_workers=min(self.workers, len(indices) - 1),
            collate_fn=_stack,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=outlast_signals,
            generator=torch.Generator().manual_seed(0),  # otherwise it would draw from the global generator
        )
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            images, targets = batch
            yield images.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class StreamedData(ImageData):
    """A data set that is decoded while it is read.

    Attributes:
        parts: Samples of "train" and "test".
        workers: Number of decoding processes.
    """

    parts: dict[Part, Samples]
    workers: int

    def store(self, part: Part, device: torch.device) -> StreamedStore:
        """Open one part."""
        return StreamedStore(self.parts[part], device, self.workers)

    def with_training_part(self, chosen: Tensor) -> Self:
        """Return the same data set with only the training samples of these indices, int64 [K]."""
        train = Subset(cast(Dataset[tuple[Tensor, Tensor]], self.parts["train"]), chosen.tolist())
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

        Raises:
            DataError: If a sample that is needed for the statistics cannot be decoded.
        """
        chosen = torch.linspace(0, len(train) - 1, min(STATISTICS_SAMPLES, len(train))).round().long().tolist()
        mean, std = channel_statistics(train[index][0][None] for index in chosen)
        image, target = train[0]
        return cls(
            name=name,
            task="segmentation" if target.ndim else "classification",
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
            workers=(os.cpu_count() or 1) - 1 if workers is None else workers,
        )


def hold_or_stream(
    name: str, train: Samples, test: Samples, class_names: tuple[str, ...], stream_above: int = STREAM_ABOVE
) -> TensorData | StreamedData:
    """Decode all samples now if they need at most `stream_above` bytes; otherwise decode them while reading.

    Args:
        name: Name of the set in reports.
        train: Training samples, at least one.
        test: Test samples, at least one.
        class_names: One name per label; a single one for masks.
        stream_above: Limit in bytes on the decoded images and masks of both parts.

    Raises:
        DataError: If a sample cannot be decoded.
    """
    image, target = train[0]
    augmentation = default_augmentation(image.shape[1], image.shape[2], segmentation=target.ndim > 0)
    if (len(train) + len(test)) * (image.nbytes + target.nbytes) > stream_above:
        return StreamedData.from_samples(name, train, test, class_names, augmentation)
    decoded = (*_decode_all(train), *_decode_all(test))
    return TensorData.from_arrays(name, *decoded, class_names=class_names, augmentation=augmentation)


def _decode_all(samples: Samples) -> tuple[Tensor, Tensor]:
    image, target = samples[0]
    images = torch.empty((len(samples), *image.shape), dtype=image.dtype)
    targets = torch.empty((len(samples), *target.shape), dtype=target.dtype)
    for index in range(len(samples)):
        images[index], targets[index] = samples[index]
    return images, targets
