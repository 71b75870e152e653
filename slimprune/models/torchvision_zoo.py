"""Torchvision's models by name; torchvision is imported only when a model is built."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import DataError, UsageError
from slimprune.models.architecture import SMALL_INPUT, InputSpec
from slimprune.models.downloads import from_url
from slimprune.models.input_channels import RGB
from slimprune.models.preprocessing import Preprocessing
from slimprune.models.weight_files import read_weights

REGISTERED = re.compile(r"^@register_model\(\)$.*?^def (\w+)\(", re.MULTILINE | re.DOTALL)
"""Pattern of a function that torchvision registers as a builder; other decorators may come in between."""


_DENSENET_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Names of DenseNet's layers in torchvision's files; in its modules they have one dot less."""


def model_names(part: str = ".") -> list[str]:
    """List the same names as torchvision's `list_models`, read from its source files.

    Importing torchvision takes about as long as importing torch, because it imports torch's compiler.

    Args:
        part: Folder below `torchvision/models`: "." for classification, or "segmentation".
    """
    spec = importlib.util.find_spec("torchvision")
    places = [] if spec is None else spec.submodule_search_locations or []
    files = [file for place in places for file in Path(place, "models", part).glob("*.py")]
    return sorted(name for file in files for name in REGISTERED.findall(file.read_text("utf-8")))


def zoo_model(name: str, **settings: Any) -> nn.Module:
    """Build a torchvision model with random weights; settings are passed to its builder."""
    model: nn.Module = importlib.import_module("torchvision").models.get_model(name, weights=None, **settings)
    return model


def zoo_weights(name: str) -> Any:
    """Return torchvision's default weights of a model, a member of its enumeration; None if it has none."""
    return getattr(importlib.import_module("torchvision").models.get_model_weights(name), "DEFAULT", None)


def zoo_preprocessing(name: str, options: str = "") -> Preprocessing | None:
    """Return how images are prepared for torchvision's default weights of a model; None if it has none.

    Args:
        name: Torchvision's name of the model.
        options: Not used; a model of torchvision has none.
    """
    weights = zoo_weights(name)
    if weights is None:
        return None
    prepared = weights.transforms()
    sizes = getattr(prepared, "crop_size", None) or prepared.resize_size
    return Preprocessing(tuple(prepared.mean), tuple(prepared.std), sizes[0], prepared.interpolation.value)


def zoo_tensors(name: str, inputs: InputSpec, **settings: Any) -> dict[str, Tensor]:
    """Return torchvision's default weights of a model, by the names of the model's tensors.

    They are read from torch's cache, or downloaded to it.

    Args:
        name: Torchvision's name of the model.
        inputs: The images for which the model is used.
        **settings: Settings of the model's builder.

    Raises:
        UsageError: If the model has no weights, or the images do not have three channels.
        DataError: If the weights are not in the cache and cannot be downloaded, or do not belong to the model.
    """
    weights = zoo_weights(name)
    if weights is None:
        raise UsageError(f"expected an architecture with pretrained weights, got {name}, which has none in torchvision")
    if inputs.channels != RGB:
        raise UsageError(f"expected images of 3 channels for torchvision's weights of {name}, got {inputs.channels}")
    file = from_url(weights.url, f"torchvision's weights of {name}")
    found = {_DENSENET_LAYER.sub(r"\1\2", key): tensor for key, tensor in read_weights(file).items()}
    with torch.device("meta"):
        model = zoo_model(name, num_classes=len(weights.meta["categories"]), **settings)
    try:  # the model itself renames the tensors of former versions
        missing = model.load_state_dict(found, strict=False, assign=True).missing_keys
    except RuntimeError as error:
        raise DataError(f"weights {file}: {' '.join(str(error).split())}") from error
    if missing:
        raise DataError(f"weights {file}: expected all tensors of {name}, got none for {missing[0]}")
    return dict(model.state_dict())


def large_tensors(name: str, inputs: InputSpec) -> dict[str, Tensor]:
    """Return the same for a model that has a form of its own, which torchvision has no weights for, for small images.

    Raises:
        UsageError: If the images are small.
    """
    if inputs.small:
        found = f"{inputs.height}x{inputs.width}, for which the architecture has a form of its own"
        raise UsageError(f"expected images above {SMALL_INPUT} pixels for torchvision's weights of {name}, got {found}")
    return zoo_tensors(name, inputs)
