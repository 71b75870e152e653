"""VGG with batch norm (Simonyan and Zisserman, ICLR 2015), in a CIFAR form for small images."""

from torch import Tensor, nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options
from slimprune.models.input_channels import fit_input_channels
from slimprune.models.torchvision_zoo import large_tensors, zoo_model, zoo_preprocessing

STAGE_WIDTHS = (64, 128, 256, 512, 512)
"""Output channels of the convolutions in each stage."""

STAGE_DEPTHS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""Convolutions per stage (table 1 of the paper, columns A, B, D, E)."""


class CifarVGG(nn.Module):
    """VGG with batch norm for images of up to 64 pixels: [B, channels, H, W] -> [B, classes].

    The convolutions, their biases and their initialisation are those of torchvision's `vgg*_bn`. The last max-pool is
    omitted, and global average pooling and one linear layer replace the three large linear layers. VGG-19 has 398.1
    million MACs in its convolutions at 32x32 pixels and 20.0 million parameters for ten classes.

    Args:
        depths: Convolutions per stage, five numbers; stages are separated by a 2x2 max-pool.
        channels: Channels of the input images.
        classes: Number of logits.
    """

    def __init__(self, depths: tuple[int, ...], channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_feature_layers(depths, channels))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(STAGE_WIDTHS[-1], classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes] from images [B, channels, H, W]."""
        features: Tensor = self.pool(self.features(images))
        logits: Tensor = self.classifier(features.flatten(1))
        return logits

    def _initialise(self) -> None:
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, 0.0, 0.01)
        nn.init.zeros_(self.classifier.bias)


def _feature_layers(depths: tuple[int, ...], channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for stage, (width, depth) in enumerate(zip(STAGE_WIDTHS, depths, strict=True)):
        if stage > 0:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        for _ in range(depth):
            convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
    return layers


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build vgg11, vgg13, vgg16 or vgg19 with batch norm: `CifarVGG` up to 64 pixels, torchvision's model above.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    if inputs.small:
        return CifarVGG(STAGE_DEPTHS[name], inputs.channels, inputs.classes)
    return fit_input_channels(zoo_model(f"{name}_bn", num_classes=inputs.classes), inputs.channels)


FAMILY = Family(
    tuple(
        Architecture(name, CLASSIFICATION, f"VGG-{name[3:]} with batch norm; one linear layer up to 64 px")
        for name in STAGE_DEPTHS
    ),
    build,
    lambda name, options: zoo_preprocessing(f"{name}_bn"),
    lambda name, options, inputs: large_tensors(f"{name}_bn", inputs),
)
