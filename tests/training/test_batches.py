import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from slimprune.errors import DataError, UsageError
from slimprune.training.batches import count_batches, on_device, set_epoch

PAIR = (torch.zeros(2, 3), torch.zeros(2))


class Unsized:
    def __iter__(self):
        torch.rand(1)
        yield from [PAIR] * 3


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(10.0)


def test_a_loader_of_a_stream_is_counted():
    """It has a `__len__`, which raises."""
    assert count_batches(DataLoader(Stream(), batch_size=4)) == 3


def test_batches_are_counted_with_and_without_a_length():
    state = torch.get_rng_state()
    assert count_batches([PAIR] * 2) == 2
    assert count_batches(Unsized()) == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_a_generator_is_refused():
    with pytest.raises(UsageError, match="got a generator"):
        count_batches(pair for pair in [PAIR])


def test_no_batches_are_refused():
    with pytest.raises(DataError, match="got none"):
        count_batches([])


def test_the_epoch_reaches_a_sampler():
    dataset = TensorDataset(torch.zeros(4))
    sampler = DistributedSampler(dataset, num_replicas=1, rank=0)
    set_epoch(DataLoader(dataset, sampler=sampler), 7)
    assert sampler.epoch == 7
    set_epoch([PAIR], 7)


def test_batches_stay_where_they_are_if_that_is_the_device():
    [(inputs, _)] = on_device([PAIR], torch.device("cpu"))
    assert inputs is PAIR[0]
