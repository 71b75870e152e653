"""ResNet (He et al., CVPR 2016) as in torchvision, with a stem that keeps the resolution of small images."""

from torch import nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options
from slimprune.models.input_channels import fit_input_channels
from slimprune.models.torchvision_zoo import large_tensors, zoo_model, zoo_preprocessing

DEPTHS = (18, 34, 50, 101, 152)
STEM_WIDTH = 64


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build torchvision's ResNet; up to 64 pixels the stem is a 3x3 convolution of stride 1 without pooling.

    With torchvision's own stem (7x7, stride 2, then pooling by 2) a 32x32 image would be reduced to a single pixel in
    the last stage.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    model = zoo_model(name, num_classes=inputs.classes)
    if not inputs.small:
        return fit_input_channels(model, inputs.channels)
    stem = nn.Conv2d(inputs.channels, STEM_WIDTH, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = stem
    model.maxpool = nn.Identity()
    return model


FAMILY = Family(
    tuple(
        Architecture(f"resnet{depth}", CLASSIFICATION, f"ResNet-{depth}; 3x3 stem without pooling up to 64 px")
        for depth in DEPTHS
    ),
    build,
    zoo_preprocessing,
    lambda name, options, inputs: large_tensors(name, inputs),
)
