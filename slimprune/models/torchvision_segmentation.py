"""Torchvision's segmentation models, under torchvision's names."""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.models.architecture import SEGMENTATION, Architecture, Family, InputSpec, refuse_options
from slimprune.models.input_channels import fit_input_channels
from slimprune.models.torchvision_zoo import model_names, zoo_model, zoo_preprocessing, zoo_tensors

SEVERAL_FEATURES = ("lraspp_mobilenet_v3_large",)
"""Models whose head reads more than one level of the backbone."""


class Segmenter(nn.Module):
    """Backbone and head of a torchvision model: images [B, C, H, W] -> logits [B, classes, H, W].

    The layers have the same names as in torchvision, so torchvision's weights can be loaded. The output is a tensor,
    not a mapping.

    Args:
        model: Model that supplies backbone and head.
        several: Whether the head reads all features of the backbone instead of only the last.
    """

    def __init__(self, model: nn.Module, several: bool) -> None:
        super().__init__()
        self.backbone = cast(nn.Module, model.backbone)
        self.classifier = cast(nn.Module, model.classifier)
        self.several = several

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes, H, W], interpolated from those of the head."""
        features = self.backbone(images)
        logits = self.classifier(features if self.several else features["out"])
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build a torchvision segmentation model with random weights, without auxiliary heads.

    The model has `inputs.classes` logits per pixel.

    Raises:
        UsageError: If options are given.
        UnsupportedModelError: If the images do not have three channels and no convolution can be adapted to them.
    """
    refuse_options(name, options)
    model = zoo_model(name, weights_backbone=None, num_classes=inputs.classes)
    return fit_input_channels(Segmenter(model, name in SEVERAL_FEATURES), inputs.channels)


FAMILY = Family(
    tuple(Architecture(name, SEGMENTATION, "torchvision, segmentation") for name in model_names("segmentation")),
    build,
    zoo_preprocessing,
    lambda name, options, inputs: zoo_tensors(name, inputs, weights_backbone=None),
)
