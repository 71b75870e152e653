"""Every other classification model of torchvision, by the name torchvision gives it."""

from typing import Any

import torchvision
from torch import nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options
from slimprune.models.input_channels import fit_input_channels

AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Models that would return extra logits in training mode; they are built without those heads."""


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build a torchvision classification model with random weights and `inputs.classes` logits.

    Raises:
        UsageError: If options are given.
        UnsupportedModelError: If the images do not have three channels and no convolution can be fitted to them.
    """
    refuse_options(name, options)
    settings: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in AUXILIARY_HEADS else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=inputs.classes, **settings)
    return fit_input_channels(model, inputs.channels)


FAMILY = Family(
    tuple(
        Architecture(name, CLASSIFICATION, f"torchvision's {name}")
        for name in torchvision.models.list_models(module=torchvision.models)
    ),
    build,
)
