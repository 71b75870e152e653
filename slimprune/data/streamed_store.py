"""One part of a data set that is decoded by worker processes while it is read."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from slimprune.data.random_order import random_order
from slimprune.errors import DataError
from slimprune.interruption import outlast_signals


class Samples(Protocol):
    """Samples that can be decoded one by one, in any order, in another process."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one sample into an image uint8 [C, H, W] and a label int64 [] or mask uint8 [1, H, W]."""


class SeededSamples(Protocol):
    """Samples of which a random part is decoded."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, place: Sequence[int], /) -> tuple[Tensor, Tensor]:
        """Decode one sample, given its index and a seed."""


@dataclass(frozen=True)
class _Reader:
    """Samples that return a `DataError` as a value; raised in a worker, it would be wrapped in a traceback."""

    samples: Any

    def __getitem__(self, index: int | Sequence[int]) -> tuple[Tensor, Tensor] | DataError:
        try:
            sample: tuple[Tensor, Tensor] = self.samples[index]
        except DataError as error:
            return error
        return sample


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

    samples: Samples | SeededSamples
    device: torch.device
    workers: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return a random order of the samples, int64 [N]: one that they can be read in, if they say which."""
        return random_order(self.samples, generator)

    def fetch(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the samples in `order`, see `Store`; a single batch is decoded in the current process."""
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


def default_workers() -> int:
    """Return the number of decoding processes beside this one: one less than the number of CPU cores."""
    return (os.cpu_count() or 1) - 1
