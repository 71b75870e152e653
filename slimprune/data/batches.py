"""Batches for training, testing and scoring, each determined by the seed and a number alone."""

import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from slimprune.data.augmentation import Augmentation, Draws, draw, move, seeded_generator, turn
from slimprune.data.random_order import random_order
from slimprune.data.resized_crops import ResizedCrops, resize
from slimprune.data.targets import FULL_SCALE, TargetKind
from slimprune.errors import UsageError
from slimprune.ranks.group import ALONE, Ranks

Batch = tuple[Tensor, Tensor]
"""Normalised float32 images [B, C, H, W] and targets: int64 labels [B], float32 masks [B, 1, H, W] and so on."""

TRAINING_STREAM = 0
SCORING_STREAM = 1


class Store(Protocol):
    """One part (train or test) of a data set, as stored."""

    @property
    def device(self) -> torch.device:
        """Device of the fetched batches."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def fetch(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 images [B, C, H, W] and stored targets of the samples in `order`.

        Args:
            order: Their indices, int64 [K] on the CPU; those that are decoded at random have a seed as well, [K, 2].
            batch_size: Samples per batch.
        """


@dataclass(frozen=True)
class Preparation:
    """Preparation of a fetched batch: augmentation, then normalisation (x / 255 - mean) / std.

    Attributes:
        mean: Mean per channel in 0..1, float32 [C, 1, 1] on the device of the batches.
        std: Standard deviation per channel in 0..1, float32 [C, 1, 1] on the same device.
        augmentation: Random changes of training images.
        targets: What the targets are.
        crops: Crops that are resized to the whole image, instead of the augmentation's shifts.
    """

    mean: Tensor
    std: Tensor
    augmentation: Augmentation
    targets: TargetKind
    crops: ResizedCrops | None = None

    def draw(self, generator: torch.Generator, count: int) -> Draws:
        """Draw the augmentation of `count` images."""
        if self.crops is None:
            return draw(generator, count, self.augmentation, self.targets.moves)
        unshifted = replace(self.augmentation, crop_padding=0)
        draws = draw(generator, count, unshifted, self.targets.moves)
        return replace(draws, crops=self.crops.draw(generator, count))

    def __call__(self, images: Tensor, targets: Tensor, draws: Draws | None) -> Batch:
        """Turn stored images and targets into a batch, without augmentation if `draws` is None."""
        if draws is None:
            return self._normalise(images), self.targets.prepared(targets)
        if self.augmentation.turn:
            images = turn(images, draws)
            targets = turn(targets, draws) if self.targets.moves else targets
        if draws.crops is not None:
            images = resize(images, draws.crops, nearest=False)
            targets = resize(targets, draws.crops, nearest=self.targets.nearest) if self.targets.moves else targets
        moved, inside = move(images, draws)
        if self.targets.moves:
            targets, _ = move(targets, draws)
        elif self.targets.mirrored is not None:
            exchanged = self.targets.mirrored(targets, images.shape[3])
            targets = torch.where(draws.mirrored[:, None, None], exchanged, targets)
        return self._normalise(moved).mul_(inside), self.targets.prepared(targets)

    def _normalise(self, images: Tensor) -> Tensor:
        return images.float().sub_(FULL_SCALE * self.mean).div_(FULL_SCALE * self.std)


class TrainBatches:
    """Shuffled, augmented batches of one epoch.

    Each iteration yields the same batches until `set_epoch` is called. The last incomplete batch is dropped, unless it
    is the only one.

    Args:
        store: The training part.
        preparation: Augmentation and normalisation.
        batch_size: Images per batch, >= 1.
        seed: Seed >= 0; order and augmentation depend on it and the epoch alone.
        augment: Whether to augment.
        seeded: Whether the store augments, too: it then takes pairs of an index and a seed.

    Raises:
        UsageError: If the batch size or the seed is out of range.
    """

    def __init__(
        self, store: Store, preparation: Preparation, batch_size: int, seed: int, augment: bool, seeded: bool = False
    ) -> None:
        _check(batch_size, seed)
        self._seeded = seeded
        self._store = store
        self._preparation = preparation
        self._batch_size = min(batch_size, len(store))
        self._seed = seed
        self._augment = augment
        self._epoch = 0
        self._ranks = ALONE
        self._skipped = 0

    def shared(self, ranks: Ranks) -> "TrainBatches":
        """Return the share of one rank: its rows of each of these batches, which all ranks divide equally.

        Raises:
            UsageError: If a batch cannot be divided equally.
        """
        if self._batch_size % ranks.count:
            rule = f"a batch size that {ranks.count} processes divide equally"
            raise UsageError(f"expected {rule}, got {self._batch_size} images")
        return _of_rank(self, ranks)

    def skipping(self, count: int) -> "TrainBatches":
        """Return the batches of the selected epoch behind the first `count`, of which nothing is read."""
        left = copy.copy(self)
        left._skipped = count
        return left

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch, >= 0, of the following iterations."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches, at least 1."""
        return len(self._store) // self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the selected epoch."""
        generator = seeded_generator(self._seed, TRAINING_STREAM, self._epoch)
        order = random_order(self._store, generator)[: len(self) * self._batch_size]
        rows, (index, count) = self._batch_size // self._ranks.count, (self._ranks.index, self._ranks.count)
        own = slice(index + self._skipped * count, None, count)
        drawn = self._preparation.draw(generator, len(order)) if self._augment else None
        if self._seeded:
            order = torch.stack([order, torch.randint(2**62, order.shape, generator=generator)], dim=1)
        chosen = order.split(rows)[own]
        if not chosen:
            return
        draws = [None] * len(chosen) if drawn is None else drawn.to(self._store.device).split(rows)[own]
        fetched = self._store.fetch(torch.cat(chosen), rows)
        for (images, targets), batch_draws in zip(fetched, draws, strict=True):
            yield self._preparation(images, targets, batch_draws)


class TestBatches:
    """All samples in their stored order, not augmented; the last batch may be smaller.

    Args:
        store: The test part.
        preparation: Normalisation.
        batch_size: Images per batch, >= 1.

    Raises:
        UsageError: If the batch size is out of range.
    """

    __test__ = False

    def __init__(self, store: Store, preparation: Preparation, batch_size: int) -> None:
        _check(batch_size, seed=0)
        self._store = store
        self._preparation = preparation
        self._batch_size = batch_size
        self._ranks = ALONE

    def shared(self, ranks: Ranks) -> "TestBatches":
        """Return the share of one rank; every sample is in that of exactly one.

        Raises:
            UsageError: If there are more ranks than samples.
        """
        if len(self._store) < ranks.count:
            rule = f"a test sample for each of {ranks.count} processes"
            raise UsageError(f"expected {rule}, got {len(self._store)} samples")
        return _of_rank(self, ranks)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self._order()) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield every sample once."""
        for images, targets in self._store.fetch(self._order(), self._batch_size):
            yield self._preparation(images, targets, None)

    def _order(self) -> Tensor:
        return torch.arange(len(self._store)).tensor_split(self._ranks.count)[self._ranks.index]


class ScoringBatches:
    """Endless sequence of augmented training batches.

    Batch `t` is computed each time it is requested and is always the same. A batch holds distinct samples; batches are
    drawn independently of each other. If the set is smaller than one batch, every batch holds the whole set.

    Args:
        store: The training part.
        preparation: Augmentation and normalisation.
        batch_size: Images per batch, >= 1.
        seed: Seed >= 0; a batch depends on it and the batch's number alone.
        labels: Class of every sample, int64 [N] on the CPU, for batches with equally many samples of each class.

    Raises:
        UsageError: If the batch size or the seed is out of range, the batch size is not a multiple of the number of
            classes, or a class has too few samples.
    """

    def __init__(
        self, store: Store, preparation: Preparation, batch_size: int, seed: int, labels: Tensor | None = None
    ) -> None:
        _check(batch_size, seed)
        if labels is not None:
            _check_balance(batch_size, torch.bincount(labels))
        self._labels = labels
        self._store = store
        self._preparation = preparation
        self._batch_size = min(batch_size, len(store))
        self._seed = seed

    def __len__(self) -> int:
        """Return `sys.maxsize`, the largest length that Python allows."""
        return sys.maxsize

    def __iter__(self) -> Iterator[Batch]:
        """Yield batch 0, 1, ... without end."""
        return map(self.__getitem__, count())

    def __getitem__(self, number: int) -> Batch:
        """Compute batch `number`.

        Raises:
            IndexError: If the number is negative.
        """
        if number < 0:
            raise IndexError(f"expected a batch number of at least 0, got {number}")
        generator = seeded_generator(self._seed, SCORING_STREAM, number)
        order = random_order(self._store, generator)
        if self._labels is not None:
            order = _of_each_class(order, self._labels, self._batch_size)
        order = order[: self._batch_size]
        draws = self._preparation.draw(generator, len(order)).to(self._store.device)
        images, targets = next(self._store.fetch(order, self._batch_size))
        return self._preparation(images, targets, draws)


_Batches = TypeVar("_Batches", TrainBatches, TestBatches)


def _of_rank(batches: _Batches, ranks: Ranks) -> _Batches:
    shared = copy.copy(batches)
    shared._ranks = ranks
    return shared


def _of_each_class(order: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the first samples of each class in an order, int64 [N], equally many of each and `count` in all."""
    by_class = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    first = counts.cumsum(0) - counts
    return by_class[(first.unsqueeze(1) + torch.arange(count // len(counts))).flatten()]


def _check_balance(batch_size: int, counts: Tensor) -> None:
    """Check that batches of a size can hold equally many samples of each class."""
    if batch_size % len(counts):
        raise UsageError(f"expected score_batch as a multiple of the {len(counts)} classes, got {batch_size}")
    each, label = batch_size // len(counts), int(counts.argmin())
    if each > counts[label]:
        raise UsageError(f"expected at least {each} training images of class {label}, got {int(counts[label])}")


def _check(batch_size: int, seed: int) -> None:
    if batch_size < 1:
        raise UsageError(f"expected a batch size of at least 1, got {batch_size}")
    if seed < 0:
        raise UsageError(f"expected a seed of at least 0, got {seed}")
