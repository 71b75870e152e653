"""Torchvision's models by name, without importing torchvision before one of them is built."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from torch import nn

REGISTERED = re.compile(r"^@register_model\(\)$.*?^def (\w+)\(", re.MULTILINE | re.DOTALL)
"""How torchvision registers a builder under the name of its function; other decorators may stand between."""


def model_names(part: str = ".") -> list[str]:
    """List what torchvision's `list_models` does, read from its source files.

    Importing torchvision takes about as long as importing torch, because it imports torch's compiler.

    Args:
        part: Folder below `torchvision/models`: "." for classification, "segmentation".
    """
    spec = importlib.util.find_spec("torchvision")
    places = [] if spec is None else spec.submodule_search_locations or []
    files = [file for place in places for file in Path(place, "models", part).glob("*.py")]
    return sorted(name for file in files for name in REGISTERED.findall(file.read_text("utf-8")))


def zoo_model(name: str, **settings: Any) -> nn.Module:
    """Build one of torchvision's models with random weights; further settings are its builder's."""
    model: nn.Module = importlib.import_module("torchvision").models.get_model(name, weights=None, **settings)
    return model
