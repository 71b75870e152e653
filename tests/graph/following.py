"""What a forward does to the channels of one convolution, before any proof."""

import torch
from torch import nn

from slimprune.graph import named_tensors
from slimprune.graph.grouping import build_groups
from slimprune.graph.tracing import trace
from tests.networks import EXAMPLE


class Net(nn.Module):
    """Eight channels of 8 x 8 that `forward(net, x)` turns into eight means [N, 8], read by a linear layer."""

    def __init__(self, forward, layers, width):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(width, 2)
        self.between = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.head(self.between(self, self.conv(x)))


def groups_of(forward, width=8, **layers):
    """Groups by id, before any proof."""
    model = Net(forward, layers, width)
    order = {name: position for position, name in enumerate(named_tensors(model))}
    return {group.id: group for group in build_groups(trace(model, EXAMPLE), order)}


def free_width(forward, width=8, **layers):
    """Number of channels of the convolution that live and die apart from each other; None where they are protected."""
    group = groups_of(forward, width, **layers)["conv"]
    return group.width if group.protected_reason is None else None


def reason(forward, width=8, **layers):
    """Why the convolution's channels stay."""
    return groups_of(forward, width, **layers)["conv"].protected_reason


def mean(x):
    """Means over positions."""
    return x.mean((2, 3))


def index(*numbers):
    return torch.tensor(numbers)
