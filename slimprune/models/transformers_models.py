"""Image classifiers and semantic segmenters of the optional package transformers, named `hf:FOLDER_OR_ID`."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.errors import DataError, UnsupportedModelError, UsageError, first_line
from slimprune.models.architecture import Architecture, Family, InputSpec
from slimprune.models.downloads import cached_in_hub, from_hub
from slimprune.models.preprocessing import Preprocessing

PREFIX = "hf"
CONFIG, WEIGHTS, PREPARATION = "config.json", "model.safetensors", "preprocessor_config.json"
INDEX = f"{WEIGHTS}.index.json"

RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Names of Pillow's numbers for ways to resize."""


class Logits(nn.Module):
    """Model of transformers that takes images alone and returns logits alone.

    Images [B, C, H, W] give [B, classes], or for segmentation [B, classes, H, W], interpolated to the images' size.

    Args:
        model: The model; its layers are named `model.NAME` here.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.model(pixel_values=images).logits
        if logits.ndim != images.ndim:
            return logits
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def build(prefix: str, name: str, inputs: InputSpec) -> nn.Module:
    """Build a model from its `config.json` with random weights and `inputs.classes` logits.

    A configuration that names a model `...ForSemanticSegmentation` gives a segmenter, any other one a classifier.

    Args:
        prefix: "hf".
        name: A folder that contains `config.json`, such a file by any name, or the id OWNER/NAME of a repository on the
            Hugging Face hub, whose configuration is read from the hub's cache or downloaded. No code of it is run.
        inputs: Image channels and size, and the number of logits.

    Raises:
        UsageError: If transformers is not installed, or there is no such folder or id.
        DataError: If the configuration is unreadable, or not in the cache and cannot be downloaded.
        UnsupportedModelError: If transformers cannot build a model for these images and classes.
    """
    auto, config = _auto_class(prefix, name)
    for field, value in (("num_labels", inputs.classes), ("num_channels", inputs.channels)):
        if hasattr(config, field):
            setattr(config, field, value)
    if hasattr(config, "image_size"):
        config.image_size = inputs.height if inputs.height == inputs.width else (inputs.height, inputs.width)
    try:
        return Logits(auto.from_config(config, trust_remote_code=False)).train()
    except Exception as error:  # each model has checks of its own
        wanted = f"{inputs.channels} channels, {inputs.height}x{inputs.width} pixels and {inputs.classes} classes"
        raise UnsupportedModelError(
            f"transformers cannot build {prefix}:{name} for {wanted}: {first_line(error)}"
        ) from error


def pretrained(prefix: str, name: str, inputs: InputSpec) -> dict[str, Tensor]:
    """Return the weights in the safetensors files of a folder or repository, under the names of the model's tensors.

    Args:
        prefix: "hf".
        name: As for `build`.
        inputs: Not used: the weights have the head and the image size that they were trained for.

    Raises:
        UsageError: As `build`.
        DataError: If the weights are missing or unreadable, or do not belong to the configuration.
    """
    auto, config = _auto_class(prefix, name)
    folder = _file(name, WEIGHTS, INDEX).parent
    settings = {"config": config, "local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    try:
        model, found = auto.from_pretrained(str(folder), **settings, output_loading_info=True, dtype=torch.float32)
    except Exception as error:  # damaged files raise errors of almost any type
        raise DataError(f"weights of {prefix}:{name} cannot be read: {first_line(error)}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise DataError(f"weights of {prefix}:{name}: expected all tensors of the configuration, got no {missing[0]}")
    return {f"model.{key}": tensor for key, tensor in model.state_dict().items()}


def preprocessing(prefix: str, name: str) -> Preprocessing | None:
    """Return how images are prepared according to `preprocessor_config.json`; None if there is no such file.

    The file is read from the folder or from the hub's cache; nothing is downloaded.
    """
    file = Path(name, PREPARATION) if Path(name).is_dir() else cached_in_hub(name, PREPARATION)
    if file is None or not file.is_file():
        return None
    try:
        stated = json.loads(file.read_bytes())
        size = stated.get("crop_size" if stated.get("do_center_crop") else "size") or stated.get("size")
        side = min(size.values()) if isinstance(size, dict) else size
        resample = stated.get("resample")
        interpolation = None if resample is None else RESAMPLING[resample]
        return Preprocessing(tuple(stated["image_mean"]), tuple(stated["image_std"]), side, interpolation)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def configuration(prefix: str, name: str) -> Path:
    """Return the file from which `build` builds the model.

    Raises:
        UsageError: As `build`.
    """
    return _file(name, CONFIG)


def _auto_class(prefix: str, name: str) -> tuple[Any, Any]:
    """Return the class of transformers that builds models of the configuration's task, and the configuration."""
    try:
        library = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        arch = f"{prefix}:{name}"
        told = f"expected transformers for {arch!r}, found none: pip install 'slimprune[transformers]'"
        raise UsageError(told) from error
    file = _file(name, CONFIG)
    try:
        config = library.AutoConfig.from_pretrained(str(file), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # unknown types, custom code and damaged files raise errors of several types
        raise DataError(f"configuration {file} cannot be read: {first_line(error)}") from error
    segments = any(model.endswith("ForSemanticSegmentation") for model in config.architectures or ())
    task = "SemanticSegmentation" if segments else "ImageClassification"
    return getattr(library, f"AutoModelFor{task}"), config


def _file(name: str, *names: str) -> Path:
    """Return the first of the files in a folder or repository.

    Raises:
        UsageError: If there is neither such a folder nor can it be the id of a repository.
        DataError: If the folder has none of the files, or they are not in the cache and cannot be downloaded.
    """
    folder = Path(name)
    if folder.is_file() and CONFIG in names:
        return folder
    if name and folder.is_dir():
        found = next((folder / file for file in names if (folder / file).is_file()), None)
        if found is None:
            raise DataError(f"expected {names[0]} in the folder {folder}, found none")
        return found
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UsageError(f"expected {PREFIX}:FOLDER with a {CONFIG} or {PREFIX}:OWNER/NAME, got {f'{PREFIX}:{name}'!r}")
    return from_hub(name, names, f"{PREFIX}:{name}", f"into a folder and name it by {PREFIX}:FOLDER")


FAMILY = Family(
    (Architecture(f"{PREFIX}:FOLDER_OR_ID", None, "a model of transformers (pip install 'slimprune[transformers]')"),),
    build,
    preprocessing,
    pretrained,
    configuration,
)
