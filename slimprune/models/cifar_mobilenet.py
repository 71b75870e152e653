"""MobileNetV2 (Sandler et al., CVPR 2018) with the strides that are usual for CIFAR's 32x32 pixels."""

from typing import Any, cast

from torch import nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options
from slimprune.models.input_channels import fit_input_channels
from slimprune.models.torchvision_zoo import zoo_model

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, output channels, repetitions and stride of every stage: table 2 of the paper, but for the second stage's
stride, which is 2 there."""


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build torchvision's MobileNetV2 with stride 1 in its stem and in its second stage, and without dropout.

    The last features of a 32x32 image are 4x4 pixels instead of 1x1.

    Raises:
        UsageError: If options are given.
        UnsupportedModelError: If the images' channels do not fit.
    """
    refuse_options(name, options)
    settings: dict[str, Any] = {"inverted_residual_setting": [list(stage) for stage in BLOCKS], "dropout": 0.0}
    model = zoo_model("mobilenet_v2", num_classes=inputs.classes, **settings)
    cast(nn.Conv2d, model.get_submodule("features.0.0")).stride = (1, 1)
    cast(nn.Sequential, model.classifier)[0] = nn.Identity()
    return fit_input_channels(model, inputs.channels)


FAMILY = Family(
    (Architecture("mobilenet_v2_cifar", CLASSIFICATION, "MobileNetV2 for CIFAR: stem and second stage of stride 1"),),
    build,
)
