"""All other classification models of torchvision, under torchvision's names."""

from dataclasses import replace
from typing import Any

from torch import nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options
from slimprune.models.input_channels import fit_input_channels
from slimprune.models.preprocessing import Preprocessing
from slimprune.models.torchvision_zoo import model_names, zoo_model, zoo_preprocessing, zoo_tensors

AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Models that would return additional logits in training mode; they are built without auxiliary heads."""


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build a torchvision classification model with random weights and `inputs.classes` logits.

    Raises:
        UsageError: If options are given.
        UnsupportedModelError: If the images do not have three channels and no convolution can be fitted to them.
    """
    refuse_options(name, options)
    return fit_input_channels(zoo_model(name, num_classes=inputs.classes, **_settings(name)), inputs.channels)


def _settings(name: str) -> dict[str, Any]:
    return {"aux_logits": False, "init_weights": True} if name in AUXILIARY_HEADS else {}


def preprocessing(name: str, options: str = "") -> Preprocessing | None:
    """Return how images are prepared for torchvision's default weights of a model; None if it has none.

    Torchvision turns the images for the weights of `AUXILIARY_HEADS`, which come from TensorFlow, into a range of
    [-1, 1] within the model. Here the model has no such step, so the images must have that range.
    """
    found = zoo_preprocessing(name)
    half = (0.5, 0.5, 0.5)
    return replace(found, mean=half, std=half) if found is not None and name in AUXILIARY_HEADS else found


FAMILY = Family(
    tuple(Architecture(name, CLASSIFICATION, f"torchvision's {name}") for name in model_names()),
    build,
    preprocessing,
    lambda name, options, inputs: zoo_tensors(name, inputs, **_settings(name)),
)
