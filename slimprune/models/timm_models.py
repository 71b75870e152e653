"""Models of the optional package timm, named `timm:NAME`."""

import difflib
import importlib
from typing import Any

from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec

PREFIX = "timm"


def build(prefix: str, name: str, inputs: InputSpec) -> nn.Module:
    """Build a timm model with random weights and `inputs.classes` logits; nothing is downloaded.

    Models with a fixed image size are built for that of `inputs`.

    Args:
        prefix: "timm".
        name: A name of `timm.list_models()`, without the tag of pretrained weights.
        inputs: Image channels and size, and the number of logits.

    Raises:
        UsageError: If timm is not installed, or has no model of that name.
        UnsupportedModelError: If timm cannot build the model for these images and classes.
    """
    timm = _library(f"{prefix}:{name}")
    known = timm.list_models()
    if name not in known:
        close = difflib.get_close_matches(name.partition(".")[0], known, n=3)
        hint = f" (did you mean {', '.join(f'{prefix}:{found}' for found in close)}?)" if close else ""
        raise UsageError(f"expected {prefix}:NAME with a name of timm.list_models(), got '{prefix}:{name}'{hint}")
    settings: dict[str, Any] = {"num_classes": inputs.classes, "in_chans": inputs.channels}
    config = timm.models.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        settings["img_size"] = (inputs.height, inputs.width)
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **settings)
    except (TypeError, ValueError, LookupError, RuntimeError, AssertionError) as error:
        wanted = f"{inputs.channels} channels, {inputs.height}x{inputs.width} pixels and {inputs.classes} classes"
        raise UnsupportedModelError(f"timm cannot build {name} for {wanted}: {first_line(error)}") from error
    return model


def _library(arch: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UsageError(f"expected timm for {arch!r}, found none: pip install 'slimprune[timm]'") from error


FAMILY = Family(
    (
        Architecture(
            f"{PREFIX}:NAME", CLASSIFICATION, "any model of timm (pip install 'slimprune[timm]'), random weights"
        ),
    ),
    build,
)
