"""Registry of architectures, and building of a model by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.models import (
    alexnet,
    cifar_densenet,
    cifar_mobilenet,
    cifar_resnet,
    lenet,
    resnet,
    timm_models,
    tiny_resnet,
    torchvision_detection,
    torchvision_models,
    torchvision_segmentation,
    transformers_models,
    ultralytics_models,
    unet,
    vgg,
)
from slimprune.models.architecture import Architecture, InputSpec, refuse_options
from slimprune.models.preprocessing import Preprocessing
from slimprune.registry import Registry, call_with, importable, kind_of
from slimprune.types import TaskName

FAMILIES = (
    vgg.FAMILY,
    resnet.FAMILY,
    cifar_resnet.FAMILY,
    tiny_resnet.FAMILY,
    cifar_mobilenet.FAMILY,
    cifar_densenet.FAMILY,
    alexnet.FAMILY,
    lenet.FAMILY,
    unet.FAMILY,
    torchvision_models.FAMILY,
    torchvision_segmentation.FAMILY,
    torchvision_detection.FAMILY,
    timm_models.FAMILY,
    transformers_models.FAMILY,
    ultralytics_models.FAMILY,
)
"""Families in order of precedence: slimprune's `vgg19` (with batch norm) precedes torchvision's (without)."""


@dataclass(frozen=True)
class Builder:
    """Registered builder of an architecture.

    Attributes:
        task: Task of the architecture; None if unknown.
        build: Function of the name, the text of its options ("" if there are none) and the input; returns a model with
            freshly initialised weights.
        preprocessing: Function of the name and the text of its options; returns how images are prepared for its
            pretrained weights, or None if it has none.
        pretrained: Function as `build` that returns pretrained weights; None if there are none. See `Family`.
        configuration: Function of the name and the text of its options; returns the file that `build` reads, if any.
    """

    task: TaskName | None
    build: Callable[[str, str, InputSpec], nn.Module]
    preprocessing: Callable[[str, str], Preprocessing | None] = lambda name, options: None
    pretrained: Callable[[str, str, InputSpec], Mapping[str, Tensor]] | None = None
    configuration: Callable[[str, str], Path] | None = None


Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


def register(name: str, description: str, *, task: TaskName | None = None) -> Callable[[Factory], Factory]:
    """Return a decorator that registers a function returning a fresh model as the architecture `name`.

    The function receives those of `num_classes` and `in_channels` that its signature names or its `**settings` accept.

    Args:
        name: A name that is not taken.
        description: One line for users.
        task: "classification" or "segmentation", if the architecture serves one of them.

    Raises:
        UsageError: If the name is taken.
    """

    def add(factory: Factory) -> Factory:
        ARCHITECTURES.add(name, description, _as_builder(name, factory, task), module=factory.__module__)
        return factory

    return add


def architectures() -> list[Architecture]:
    """List every named architecture once, slimprune's own families first."""
    builders, described = ARCHITECTURES.available(), dict(ARCHITECTURES.rows())
    return [
        Architecture(entry.shown, builders[entry.name].task, described[entry.shown])
        for entry in ARCHITECTURES.entries()
        if entry.name in builders
    ]


def build(arch: str, inputs: InputSpec) -> nn.Module:
    """Build a model with random weights drawn from torch's global generator; nothing is downloaded.

    Args:
        arch: A name of `architectures()`, for some with options ("unet:depth=3,width=32"), "timm:NAME",
            "hf:FOLDER_OR_ID", or the user's
            own "package.module:factory" or "path/to/file.py:factory": a function that receives those of `num_classes`
            and `in_channels` that its signature names or its `**settings` accept. While it is imported and called, the
            file's folder (for a file) or the current directory (for a module) is importable.
        inputs: Image channels and size, and the number of outputs.

    Returns:
        A module in training mode: [B, channels, H, W] -> [B, classes], or [B, classes, H, W] for segmentation.

    Raises:
        UsageError: If the name, an option, the file, the module or the factory is not found, or the image size does not
            fit the architecture.
        UnsupportedModelError: If the user's factory fails, or the model cannot take the images' channels.
    """
    name, options = ARCHITECTURES.split(arch)
    return ARCHITECTURES.find(name).build(name, options, inputs)


def task_of(arch: str) -> TaskName | None:
    """Return the task of a named architecture; None if it is unknown, for instance for the user's own code.

    Raises:
        UsageError: If the name is unknown.
    """
    return None if is_user_code(arch) else ARCHITECTURES.find(ARCHITECTURES.split(arch)[0]).task


def pretrained_preprocessing(arch: str) -> Preprocessing | None:
    """Return how images are prepared for the pretrained weights of an architecture; nothing is downloaded.

    Args:
        arch: An architecture as `build` takes it; for timm and torchvision the weights are those of `--pretrained`.

    Returns:
        The preprocessing, or None if the architecture has no pretrained weights or they do not say.

    Raises:
        UsageError: If the name is unknown.
    """
    if is_user_code(arch):
        return None
    name, options = ARCHITECTURES.split(arch)
    return ARCHITECTURES.find(name).preprocessing(name, options)


def pretrained_weights(arch: str, inputs: InputSpec) -> Mapping[str, Tensor]:
    """Return the pretrained weights of an architecture from the cache of its library, which may download them.

    Args:
        arch: A name of torchvision, "timm:NAME", "timm:NAME.TAG" or "hf:FOLDER_OR_ID".
        inputs: The images for which the model is built.

    Returns:
        The tensors under the names that the model has; the head has as many outputs as it was trained for.

    Raises:
        UsageError: If the architecture has no pretrained weights, or they do not fit these images.
        DataError: If the weights are not in the cache and cannot be downloaded; the message says how to get them.
    """
    name, options = ARCHITECTURES.split(arch)
    builder = None if is_user_code(arch) else ARCHITECTURES.find(name)
    if builder is None or builder.pretrained is None:
        known = "torchvision's, timm:NAME or hf:FOLDER_OR_ID"
        raise UsageError(f"expected an architecture with pretrained weights ({known}), got {arch}")
    with torch.random.fork_rng(devices=[]):
        return builder.pretrained(name, options, inputs)


def configuration_of(arch: str) -> Path | None:
    """Return the file without which an architecture cannot be built again, so that a copy can be kept, or None.

    Raises:
        UsageError: If the name or the file is not found.
    """
    name, options = ARCHITECTURES.split(arch)
    builder = None if is_user_code(arch) else ARCHITECTURES.find(name)
    return None if builder is None or builder.configuration is None else builder.configuration(name, options)


def built_from(arch: str, configuration: Path) -> str:
    """Return an architecture that is built from a copy of its `configuration_of`; `arch` itself if it needs none."""
    name, _ = ARCHITECTURES.split(arch)
    entry = ARCHITECTURES.entry(name)
    needed = entry is not None and entry.built_in and entry.load().configuration is not None
    return f"{name}:{configuration}" if needed else arch


def is_user_code(arch: str) -> bool:
    """Return whether building runs the user's own code rather than slimprune's or an installed package's."""
    return ARCHITECTURES.is_user_code(arch)


def _as_builder(name: str, factory: object, task: TaskName | None = None) -> Builder:
    """Wrap a factory of the user or of an installed package in a `Builder`."""
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UnsupportedModelError(f"expected {name!r} to be a factory, got {kind_of(factory)}")

    def build(_: str, options: str, inputs: InputSpec) -> nn.Module:
        refuse_options(name, options)
        offered = {"num_classes": inputs.classes, "in_channels": inputs.channels}
        with importable(name):
            model = call_with(factory, offered, f"factory {name!r}", UnsupportedModelError)
        if not isinstance(model, nn.Module):
            raise UnsupportedModelError(f"expected factory {name!r} to return an nn.Module, got {type(model).__name__}")
        return model

    return Builder(task, build)


ARCHITECTURES: Registry[Builder] = Registry(
    "an architecture",
    "slimprune.models",
    "a factory",
    _as_builder,
    failure=UnsupportedModelError,
    listing="slimprune list archs",
)
_seen: set[str] = set()
for _family in FAMILIES:
    for _one in _family.architectures:
        if _one.name not in _seen:
            _seen.add(_one.name)
            _name, _, _takes = _one.name.partition(":")
            _builder = Builder(
                _one.task, _family.build, _family.preprocessing, _family.pretrained, _family.configuration
            )
            ARCHITECTURES.add(_name, _one.description, _builder, module=__name__, takes=_takes)
