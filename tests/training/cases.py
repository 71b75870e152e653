"""The small network and data that the training tests share."""

import torch
from torch import nn


class Shuffled:
    """Batches in an order of their own for every epoch, and with noise from torch's generator."""

    def __init__(self, size=24, batch=8):
        generator = torch.Generator().manual_seed(1)
        self.targets = torch.randint(0, 3, (size,), generator=generator)
        self.inputs = torch.randn(size, 6, generator=generator) + 2 * nn.functional.one_hot(self.targets, 6)
        self.batch, self.epoch = batch, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.targets) // self.batch

    def __iter__(self):
        order = torch.randperm(len(self.targets), generator=torch.Generator().manual_seed(self.epoch))
        for index in order.split(self.batch):
            yield self.inputs[index] + 0.01 * torch.randn(len(index), 6), self.targets[index]


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def assert_same_state(left, right):
    for name, value in left.state_dict().items():
        assert torch.equal(value, right.state_dict()[name]), name
