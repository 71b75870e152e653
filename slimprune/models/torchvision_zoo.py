"""Torchvision's models by name; torchvision is imported only when a model is built."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from torch import nn

from slimprune.models.preprocessing import Preprocessing

REGISTERED = re.compile(r"^@register_model\(\)$.*?^def (\w+)\(", re.MULTILINE | re.DOTALL)
"""Pattern of a function that torchvision registers as a builder; other decorators may come in between."""


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
