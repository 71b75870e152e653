"""AlexNet for small images: its convolutions with smaller strides, and narrower linear layers.

Source: Lee et al., SNIP: Single-Shot Network Pruning Based on Connection Sensitivity (ICLR 2019), where they are called
AlexNet-s and AlexNet-b. There strided convolutions pad as TensorFlow does, more at the right and at the bottom; here
they pad alike on all sides.
"""

from itertools import pairwise

from torch import nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options

CONVOLUTIONS = ((96, 11), (256, 5), (384, 3), (384, 3), (256, 3))
"""Widths and sides of the kernels, as in AlexNet."""
HIDDEN = {"alexnet-s": 1024, "alexnet-b": 2048}
"""Units of both hidden linear layers; AlexNet has 4096."""
LARGE = 64
"""Side of an image, in pixels, from which the first stride is 4; below it is 2. All other strides are 2."""


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build alexnet-s or alexnet-b: five convolutions, three linear layers; all but the last with batch norm and ReLU.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    layers: list[nn.Module] = []
    channels, stride = inputs.channels, 4 if min(inputs.height, inputs.width) >= LARGE else 2
    for width, side in CONVOLUTIONS:
        layers += [nn.Conv2d(channels, width, side, stride, side // 2), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels, stride = width, 2
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]  # one pixel is left of images of 32 pixels, and of 64
    for before, width in pairwise((channels, HIDDEN[name], HIDDEN[name])):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.Linear(HIDDEN[name], inputs.classes))
    for module in model:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return model


FAMILY = Family(
    tuple(
        Architecture(
            name, CLASSIFICATION, f"AlexNet for images of 32 pixels, two hidden linear layers of {units} units"
        )
        for name, units in HIDDEN.items()
    ),
    build,
)
