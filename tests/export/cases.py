"""The small networks that the export tests share."""

import torch
from torch import nn
from torch.nn.functional import interpolate


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


class Segmenter(nn.Module):
    """A U-Net in small: strided and transposed convolution, resampling, concatenation."""

    def __init__(self, outputs=1):
        super().__init__()
        self.encode, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.down, self.up = nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.out = nn.Conv2d(4 + 4 + 6, outputs, 1)

    def forward(self, x):
        high = self.norm(self.encode(x)).relu()
        low = self.down(high).relu()
        wide = interpolate(low, size=high.shape[-2:], mode="bilinear", align_corners=False)
        return self.out(torch.cat([high, self.up(low), wide], dim=1))


class InSteps(nn.Module):
    """Takes heights and widths that are multiples of a number, as a U-Net without padding does."""

    def __init__(self, step, outputs=1):
        super().__init__()
        self.step = step
        self.down, self.up = nn.Conv2d(3, 4, step, stride=step), nn.ConvTranspose2d(4, outputs, step, stride=step)
        self.skip = nn.Conv2d(3, outputs, 1)

    def forward(self, x):
        return self.up(self.down(x)) + self.skip(x)


class OneSize(nn.Module):
    """Adds a map that was learned for one size."""

    def __init__(self):
        super().__init__()
        self.conv, self.position = nn.Conv2d(3, 2, 1), nn.Parameter(torch.randn(2, 8, 8))

    def forward(self, x):
        return self.conv(x) + self.position


def seeded(make, *arguments):
    """A network with batch-norm statistics of its own, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make(*arguments)
        model(torch.randn(8, 3, 8, 8))
    return model


def images(count=7):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
