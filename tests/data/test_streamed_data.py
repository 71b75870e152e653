from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from slimprune.data import Augmentation, StreamedData, TensorData
from slimprune.data.streamed_data import hold_or_stream
from slimprune.errors import DataError, UsageError

from .asserts import assert_describes_itself, assert_equal_batches, labelled, masked

NAMES = tuple(str(number) for number in range(23))


@dataclass(frozen=True)
class Stored:
    """Samples of a part in memory; decoding number `broken` fails."""

    images: Tensor
    targets: Tensor
    broken: int = -1

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.broken:
            raise DataError(f"expected a readable image in {index}.png, got nothing")
        return self.images[index], self.targets[index]


def streamed(held: TensorData, workers: int) -> StreamedData:
    train, test = (Stored(*held.parts[part]) for part in ("train", "test"))
    return StreamedData.from_samples(held.name, train, test, held.class_names, held.augmentation, workers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("held", [labelled(augmentation=Augmentation(2, True)), masked()], ids=["labels", "masks"])
def test_batches_are_those_of_the_same_data_in_memory(held: TensorData, workers: int):
    data = streamed(held, workers)
    assert_describes_itself(data)
    assert (data.mean, data.std, data.task) == (held.mean, held.std, held.task)
    before = torch.get_rng_state()
    assert_equal_batches(data.train_batches(4, seed=3), held.train_batches(4, seed=3))
    assert_equal_batches(data.test_batches(4), held.test_batches(4))
    assert_equal_batches([data.scoring_batches(4)[5]], [held.scoring_batches(4)[5]])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_cannot_be_decoded_is_one_line(workers: int):
    held = labelled()
    train, test = Stored(*held.parts["train"]), Stored(*held.parts["test"], broken=17)
    data = StreamedData.from_samples("it", train, test, NAMES, Augmentation(), workers)
    with pytest.raises(DataError, match=r"^expected a readable image in 17.png, got nothing$"):
        list(data.test_batches(4))


def test_size_decides_where_data_lies():
    parts = [Stored(*labelled().parts[part]) for part in ("train", "test")]
    size = (23 + 23) * (3 * 8 * 8 + 8)
    assert isinstance(hold_or_stream("it", *parts, NAMES, stream_above=size), TensorData)
    assert isinstance(hold_or_stream("it", *parts, NAMES, stream_above=size - 1), StreamedData)


def test_both_ways_are_augmented_alike():
    parts = [Stored(*masked().parts[part]) for part in ("train", "test")]
    for limit in (0, 10**9):
        assert hold_or_stream("it", *parts, ("mask",), limit).augmentation == Augmentation(0, True, turn=True)


def test_fewer_samples_are_the_same_ones_in_memory_and_streamed():
    held = labelled()
    few, streamed_few = held.with_fewer(5), streamed(held, workers=0).with_fewer(5)
    assert few.train_size == streamed_few.train_size == 5
    assert few.test_size == held.test_size
    assert_equal_batches(streamed_few.train_batches(2), few.train_batches(2))
    assert few.mean == held.mean


@pytest.mark.parametrize("size", [0, 10_000])
def test_fewer_samples_than_there_are_and_more_than_none(size: int):
    held = labelled()
    with pytest.raises(UsageError, match=rf"expected a train_size in 1 \.\.\. {held.train_size}, got {size}"):
        held.with_fewer(size)


def test_held_out_samples_are_the_same_ones_in_memory_and_streamed():
    held = labelled()
    (kept, out), (streamed_kept, streamed_out) = held.split(0.3), streamed(held, workers=0).split(0.3)
    assert (kept.train_size, out.train_size) == (23 - 7, 7)
    assert_equal_batches(streamed_kept.train_batches(2), kept.train_batches(2))
    assert_equal_batches(streamed_out.test_batches(4, part="train"), out.test_batches(4, part="train"))
    assert_equal_batches(kept.test_batches(4), held.test_batches(4))
    assert kept.mean == out.mean == held.mean


def test_held_out_samples_and_the_others_are_all_training_samples():
    held = labelled()
    kept, out = held.split(0.3)
    images = torch.cat([kept.parts["train"][0], out.parts["train"][0]])
    assert len(images) == held.train_size
    assert all(any(torch.equal(one, other) for other in images) for one in held.parts["train"][0])


@pytest.mark.parametrize("share", [0, 1, 1.5, 0.01, 0.99])
def test_neither_part_is_empty(share: float):
    with pytest.raises(UsageError, match="expected a validation share"):
        labelled().split(share)
