"""Models of the optional package timm, named `timm:NAME`."""

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from slimprune.errors import DataError, UnsupportedModelError, UsageError, first_line
from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec
from slimprune.models.downloads import from_hub, from_url
from slimprune.models.preprocessing import Preprocessing

PREFIX = "timm"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of the weights in timm's repositories on the Hugging Face hub."""


def build(prefix: str, name: str, inputs: InputSpec) -> nn.Module:
    """Build a timm model with random weights and `inputs.classes` logits; nothing is downloaded.

    Models with a fixed image size are built for that of `inputs`.

    Args:
        prefix: "timm".
        name: A name of `timm.list_models()`, or one with the tag of pretrained weights, as in `timm.list_pretrained()`.
        inputs: Image channels and size, and the number of logits.

    Raises:
        UsageError: If timm is not installed, or has no model of that name or no such weights for it.
        UnsupportedModelError: If timm cannot build the model for these images and classes.
    """
    timm, config = _library(f"{prefix}:{name}"), _configuration(name)
    settings = {**image_settings(config, inputs), "num_classes": inputs.classes}
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **settings)
    except (TypeError, ValueError, LookupError, RuntimeError, AssertionError) as error:
        wanted = f"{inputs.channels} channels, {inputs.height}x{inputs.width} pixels and {inputs.classes} classes"
        raise UnsupportedModelError(f"timm cannot build {name} for {wanted}: {first_line(error)}") from error
    return model


def preprocessing(prefix: str, name: str) -> Preprocessing | None:
    """Return how images are prepared for the pretrained weights of a timm model; None if it has none.

    Raises:
        UsageError: As `build`.
    """
    config = _configuration(name)
    if config is None or not config.has_weights:
        return None
    size = config.input_size[-1] if config.input_size else None
    return Preprocessing(tuple(config.mean), tuple(config.std), size, config.interpolation)


def pretrained(prefix: str, name: str, inputs: InputSpec) -> dict[str, Tensor]:
    """Return the pretrained weights of a timm model, converted by timm to the images' channels and size.

    Raises:
        UsageError: As `build`, or if the model has no pretrained weights.
        DataError: If the weights are not in the cache and cannot be downloaded, or do not belong to the model.
    """
    arch, config = f"{prefix}:{name}", _configuration(name)
    if config is None or not config.has_weights:
        raise UsageError(f"expected an architecture with pretrained weights, got {arch}, which has none in timm")
    what = f"timm's weights of {arch}"
    if config.hf_hub_id is None:
        file = from_url(config.url, what)
    else:
        file = from_hub(config.hf_hub_id, (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES, what)
    settings = {**image_settings(config, inputs), "pretrained_cfg_overlay": {"file": str(file)}}
    try:
        model = _library(arch).create_model(name, pretrained=True, num_classes=config.num_classes, **settings)
    except Exception as error:  # damaged files raise errors of almost any type
        raise DataError(f"weights {file}: expected {what}, got {first_line(error)}") from error
    return dict(model.state_dict())


def image_settings(config: Any, inputs: InputSpec) -> dict[str, Any]:
    """Return the settings of timm's builders that depend on the images.

    Args:
        config: timm's description of the pretrained weights; None if the model has none.
        inputs: The images.
    """
    fixed = config is not None and config.fixed_input_size
    return {"in_chans": inputs.channels, **({"img_size": (inputs.height, inputs.width)} if fixed else {})}


def _configuration(name: str) -> Any:
    """Return timm's description of a model's pretrained weights, those of the name's tag if it has one."""
    timm = _library(f"{PREFIX}:{name}")
    model, _, tag = name.partition(".")
    known = timm.list_models()
    if model not in known:
        close = difflib.get_close_matches(model, known, n=3)
        raise _unknown(name, "timm.list_models()", close)
    tagged = timm.list_pretrained(f"{model}.*")
    if tag and name not in tagged:
        raise _unknown(name, "timm.list_pretrained()", [model, *difflib.get_close_matches(name, tagged, n=3, cutoff=0)])
    return timm.models.get_pretrained_cfg(name)


def _unknown(name: str, listing: str, close: Sequence[str]) -> UsageError:
    hint = f" (did you mean {', '.join(f'{PREFIX}:{found}' for found in close)}?)" if close else ""
    return UsageError(f"expected {PREFIX}:NAME with a name of {listing}, got '{PREFIX}:{name}'{hint}")


def _library(arch: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UsageError(f"expected timm for {arch!r}, found none: pip install 'slimprune[timm]'") from error


FAMILY = Family(
    (
        Architecture(
            f"{PREFIX}:NAME", CLASSIFICATION, "any model of timm (pip install 'slimprune[timm]'), NAME.TAG for weights"
        ),
    ),
    build,
    preprocessing,
    pretrained,
)
