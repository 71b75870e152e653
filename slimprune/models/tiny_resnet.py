"""ResNet-8, the network for image classification of MLPerf Tiny (Banbury et al., NeurIPS Datasets 2021)."""

from torch import Tensor, nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options

STAGE_WIDTHS = (16, 32, 64)


class TinyBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut around them: [B, C_in, H, W] -> [B, C_out, H', W'].

    Args:
        channels_in: Number of input channels.
        channels_out: Number of output channels; if they differ, the shortcut is a 1x1 convolution without batch norm.
        stride: Stride of the first convolution and of the shortcut.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """Compute relu(residual + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu(residual + self.shortcut(features))
        return output


class ResNet8(nn.Module):
    """Three stages of one block, 16, 32 and 64 wide: [B, channels, H, W] -> [B, classes].

    Layers, biases and the scale of initialisation are those of the reference implementation in Keras. At stride 2 its
    padding is one row and column at the end of the image, here it is one on every side: the same products, shifted by a
    pixel. For ten classes it has 78,186 parameters and 12.5 million MACs at 32x32 pixels.

    Args:
        channels: Channels of the input images.
        classes: Number of logits.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        first, second, third = STAGE_WIDTHS
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.stages = nn.Sequential(
            TinyBlock(first, first, 1), TinyBlock(first, second, 2), TinyBlock(second, third, 2)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes] from images [B, channels, H, W]."""
        features = self.stages(self.relu(self.bn1(self.conv1(images))))
        logits: Tensor = self.fc(self.pool(features).flatten(1))
        return logits


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build resnet8.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    return ResNet8(inputs.channels, inputs.classes)


FAMILY = Family((Architecture("resnet8", CLASSIFICATION, "ResNet-8 of MLPerf Tiny, 16-32-64 wide"),), build)
