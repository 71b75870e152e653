"""The small network and data that the training tests share."""

import torch
from torch import nn

from slimprune.training.cuda_graphs import WARM_UP


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


class Images:
    """Noise with a bright corner that tells the class: batches of `batch`, the last one smaller."""

    def __init__(self, size=44, batch=16, side=8, classes=3):
        generator = torch.Generator().manual_seed(2)
        self.targets = torch.randint(0, classes, (size,), generator=generator)
        self.inputs = torch.randn(size, 3, side, side, generator=generator)
        self.inputs[:, :, :2, :2] += self.targets.view(-1, 1, 1, 1)
        self.batch, self.epoch = batch, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return -(-len(self.targets) // self.batch)

    def __iter__(self):
        order = torch.randperm(len(self.targets), generator=torch.Generator().manual_seed(self.epoch))
        for index in order.split(self.batch):
            yield self.inputs[index], self.targets[index]


def convolutional(seed=0):
    """Convolutions (one depthwise, one 1x1), batch norm, max-pool and a linear layer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
        )  # fmt: skip


def record_by_calling(work, *examples):
    """Stands in for `capture` where there is no CUDA: the same calls, and a recording that calls the work again."""
    inputs = tuple(example.clone() for example in examples)
    for _ in range(WARM_UP):
        work(*inputs)
    return work
