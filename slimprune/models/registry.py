"""The one table of architectures, and fresh models by name."""

import difflib

from torch import nn

from slimprune.errors import UsageError
from slimprune.models import (
    cifar_resnet,
    resnet,
    timm_models,
    torchvision_models,
    torchvision_segmentation,
    unet,
    user_code,
    vgg,
)
from slimprune.models.architecture import Architecture, Family, InputSpec, Task

FAMILIES = (
    vgg.FAMILY,
    resnet.FAMILY,
    cifar_resnet.FAMILY,
    unet.FAMILY,
    torchvision_models.FAMILY,
    torchvision_segmentation.FAMILY,
    timm_models.FAMILY,
)
"""In order of precedence: our own `vgg19` (with batch norm) stands before torchvision's (without)."""

REGISTRY: dict[str, tuple[Architecture, Family]] = {
    architecture.name.partition(":")[0]: (architecture, family)
    for family in reversed(FAMILIES)
    for architecture in family.architectures
}


def architectures() -> list[Architecture]:
    """List every named architecture once, slimprune's own families first."""
    listed = (architecture for family in FAMILIES for architecture in family.architectures)
    return [REGISTRY[name][0] for name in dict.fromkeys(entry.name.partition(":")[0] for entry in listed)]


def build(arch: str, inputs: InputSpec) -> nn.Module:
    """Build a model with fresh weights from torch's global random generator; nothing is downloaded.

    Args:
        arch: A name of `architectures()`, for some with options ("unet:depth=3,width=32"), "timm:NAME", or the user's
            own "package.module:factory" or "path/to/file.py:factory".
        inputs: Image channels and size, and the number of outputs.

    Returns:
        A module in training mode: [B, channels, H, W] -> [B, classes], or [B, classes, H, W] for segmentation.

    Raises:
        UsageError: If the name, an option, the file, the module or the factory is not found, or the image size
            does not fit the architecture.
        UnsupportedModelError: If the user's factory fails, or the model cannot take the images' channels.
    """
    if _is_user_code(arch):
        return user_code.build(arch, inputs)
    name, _, options = arch.partition(":")
    return _entry(arch)[1].build(name, options, inputs)


def task_of(arch: str) -> Task | None:
    """Return the task of a named architecture; None for the user's own code.

    Raises:
        UsageError: If the name is unknown.
    """
    return None if _is_user_code(arch) else _entry(arch)[0].task


def _is_user_code(arch: str) -> bool:
    """Options hold "=", a factory's name never does."""
    location, _, attribute = arch.rpartition(":")
    return bool(location) and attribute.isidentifier() and location != timm_models.PREFIX


def _entry(arch: str) -> tuple[Architecture, Family]:
    name = arch.partition(":")[0]
    if name in REGISTRY:
        return REGISTRY[name]
    close = difflib.get_close_matches(name, REGISTRY, n=3)
    hint = f" (did you mean {', '.join(close)}?)" if close else ""
    raise UsageError(f"expected an architecture name, module:factory or file.py:factory, got {arch!r}{hint}")
