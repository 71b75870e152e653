"""CIFAR ResNets of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2; wide ones."""

from torch import Tensor, nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options

STAGE_WIDTHS = (16, 32, 64)
DEPTHS = (20, 32, 56, 110)
WIDE = ((14, 8), (14, 10), (20, 8), (32, 2))
"""Depth and factor of the width of wide networks.

Depths are counted as 6n + 2, as Frankle et al. do (Pruning Neural Networks at Initialization: Why Are We Missing the
Mark?, tables 1 and 4): WRN-14-8 is the WRN-16-8 of the SNIP paper, and WRN-32-2 the ResNet-32 of the GraSP paper.
"""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut around them: [B, C_in, H, W] -> [B, C_out, H', W'].

    Where the shape changes, the shortcut is a 1x1 convolution with batch norm (option B of the paper). Option A pads
    the missing channels with zeros. The number of zeros would be a constant that fits only one width, so such a network
    could not be made narrower.

    Args:
        channels_in: Number of input channels.
        channels_out: Number of output channels.
        stride: Stride of the first convolution: 1, or 2 to halve height and width.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, features: Tensor) -> Tensor:
        """Compute relu(residual + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu(residual + self.shortcut(features))
        return output


class CifarResNet(nn.Module):
    """ResNet of depth 6n + 2 with three stages of n blocks: [B, channels, H, W] -> [B, classes].

    The stages are 16, 32 and 64 wide, times a factor.

    Args:
        depth: Number of weighted layers on the main path, 6n + 2.
        channels: Channels of the input images.
        classes: Number of logits.
        factor: Factor of all widths.
    """

    def __init__(self, depth: int, channels: int, classes: int, factor: int = 1) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        first, second, third = (factor * width for width in STAGE_WIDTHS)
        width = first
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.stages = nn.Sequential(
            _stage(first, first, blocks, stride=1),
            _stage(first, second, blocks, stride=2),
            _stage(second, third, blocks, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes] from images [B, channels, H, W]."""
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.pool(self.stages(features))
        logits: Tensor = self.fc(features.flatten(1))
        return logits


def _stage(channels_in: int, channels_out: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)))


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build resnet20, resnet32, resnet56, resnet110 or a wide one, such as wrn-32-2.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    depth, factor = _SIZES[name]
    return CifarResNet(depth, inputs.channels, inputs.classes, factor)


_SIZES = {f"resnet{depth}": (depth, 1) for depth in DEPTHS} | {
    f"wrn-{one}-{factor}": (one, factor) for one, factor in WIDE
}
"""Depth and factor of the width by name."""

FAMILY = Family(
    tuple(
        Architecture(
            name,
            CLASSIFICATION,
            f"CIFAR ResNet-{depth}, {'-'.join(str(factor * one) for one in STAGE_WIDTHS)} wide, projection shortcuts",
        )
        for name, (depth, factor) in _SIZES.items()
    ),
    build,
)
