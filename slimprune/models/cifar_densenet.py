"""CIFAR DenseNet of Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, section 3."""

import torch
from torch import Tensor, nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options

DEPTH, GROWTH, STEM = 40, 12, 16
"""Depth, channels that a layer adds, and channels of the first convolution: the plain network of table 2."""


class DenseLayer(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, beside the input: [B, C, H, W] -> [B, C + growth, H, W].

    Args:
        channels: Number of input channels.
        growth: Number of channels that are added.
    """

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the input beside the new channels."""
        return torch.cat([features, self.conv(self.relu(self.bn(features)))], 1)


class CifarDenseNet(nn.Module):
    """DenseNet of depth 3n + 4 with three blocks of n layers: [B, channels, H, W] -> [B, classes].

    Between the blocks lies a 1x1 convolution that keeps the number of channels, and an average pooling by 2.

    Args:
        depth: Number of weighted layers, 3n + 4.
        growth: Channels that a layer adds.
        channels: Channels of the input images.
        classes: Number of logits.
    """

    def __init__(self, depth: int, growth: int, channels: int, classes: int) -> None:
        super().__init__()
        layers, width = (depth - 4) // 3, STEM
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
        for block in range(3):
            if block > 0:
                parts.append(_transition(width))
            parts += [DenseLayer(width + number * growth, growth) for number in range(layers)]
            width += layers * growth
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes] from images [B, channels, H, W]."""
        features: Tensor = self.pool(self.features(images))
        logits: Tensor = self.fc(features.flatten(1))
        return logits


def _transition(width: int) -> nn.Module:
    convolution = nn.Conv2d(width, width, 1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True), convolution, nn.AvgPool2d(2))


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build densenet40.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    return CifarDenseNet(DEPTH, GROWTH, inputs.channels, inputs.classes)


FAMILY = Family(
    (Architecture("densenet40", CLASSIFICATION, "CIFAR DenseNet-40 of growth 12, without bottlenecks"),),
    build,
)
