"""CIFAR ResNets of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2."""

from torch import Tensor, nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options

STAGE_WIDTHS = (16, 32, 64)
DEPTHS = (20, 32, 56, 110)


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
    """ResNet of depth 6n + 2 with three stages of n blocks, 16, 32 and 64 wide: [B, channels, H, W] -> [B, classes].

    Args:
        depth: Number of weighted layers on the main path, 6n + 2.
        channels: Channels of the input images.
        classes: Number of logits.
    """

    def __init__(self, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        width = STAGE_WIDTHS[0]
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.stages = nn.Sequential(
            _stage(width, STAGE_WIDTHS[0], blocks, stride=1),
            _stage(STAGE_WIDTHS[0], STAGE_WIDTHS[1], blocks, stride=2),
            _stage(STAGE_WIDTHS[1], STAGE_WIDTHS[2], blocks, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(STAGE_WIDTHS[-1], classes)
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
    """Build resnet20, resnet32, resnet56 or resnet110.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    return CifarResNet(int(name.removeprefix("resnet")), inputs.channels, inputs.classes)


FAMILY = Family(
    tuple(
        Architecture(f"resnet{depth}", CLASSIFICATION, f"CIFAR ResNet-{depth}, 16-32-64 wide, projection shortcuts")
        for depth in DEPTHS
    ),
    build,
)
