"""Small networks that show one structure each, and the named ones with their groups found once."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from slimprune.budget import CostModel
from slimprune.graph import find_groups
from slimprune.models import InputSpec, build

EXAMPLE = torch.zeros(1, 3, 8, 8)


class Residual(nn.Module):
    """Two branches summed, the sum read twice: one shared gate vector."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.inner_bn = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.outer, self.outer_bn = nn.Conv2d(5, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem_bn(self.stem(x)))
        y = F.relu(self.inner_bn(self.inner(x)))
        x = F.relu(x + self.outer_bn(self.outer(y)))
        return self.head(x.mean((2, 3)))


class Concat(nn.Module):
    """Two branches concatenated, then read by one convolution."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.merge, self.head = nn.Conv2d(10, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        x = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)
        return self.head(F.relu(self.merge(x)).mean((2, 3)))


class Flatten(nn.Module):
    """A convolution flattened into a linear layer: four columns per channel."""

    def __init__(self):
        super().__init__()
        self.conv, self.hidden, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 4, 7), nn.Linear(7, 4)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(F.relu(self.conv(x)), 2)
        return self.head(F.relu(self.hidden(x.flatten(1))))


class Depthwise(nn.Module):
    """Expansion, depthwise filter, projection."""

    def __init__(self):
        super().__init__()
        self.expand, self.expand_bn = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.filter, self.filter_bn = nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = F.relu(self.expand_bn(self.expand(x)))
        return self.head(F.relu(self.filter_bn(self.filter(x)))).mean((2, 3))


class Transposed(nn.Module):
    """Down, up by a transposed convolution, concatenated with the skip connection."""

    def __init__(self):
        super().__init__()
        self.enter, self.down = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.up, self.norm = nn.ConvTranspose2d(6, 5, 2, stride=2), nn.BatchNorm2d(5)
        self.head = nn.Conv2d(9, 2, 1)

    def forward(self, x):
        skip = F.relu(self.enter(x))
        return self.head(torch.cat([skip, F.relu(self.norm(self.up(F.relu(self.down(skip)))))], 1))


TOYS = (Residual, Concat, Flatten, Depthwise, Transposed)

NAMED = {
    "vgg19": (32, 10),
    "resnet18": (32, 10),
    "resnet50": (32, 10),
    "resnet20": (32, 10),
    "resnet8": (32, 10),
    "mobilenet_v2_cifar": (32, 10),
    "unet": (32, 1),
    "unet:depth=3,width=8,upsampling=bilinear": (32, 1),
    "mobilenet_v2": (64, 10),
    "densenet121": (32, 10),
}


def toy(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind()


@cache
def named(arch):
    """Model, example, groups and cost model of a named architecture."""
    side, classes = NAMED[arch]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(arch, InputSpec(3, side, side, classes))
    example = torch.zeros(1, 3, side, side)
    groups = find_groups(model, example)
    return model, example, groups, CostModel.of(model, groups, example)


def halves(groups):
    """A random half of every free group, at least one channel."""
    generator = torch.Generator().manual_seed(3)
    return {
        group.id: torch.randperm(group.width, generator=generator)[: max(1, group.width // 2)].sort().values
        for group in groups
        if group.protected_reason is None
    }
