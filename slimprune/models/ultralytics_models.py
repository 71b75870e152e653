"""Detectors of the optional package ultralytics, named `yolo:NAME`."""

import difflib
import importlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.models.architecture import DETECTION, Architecture, Family, InputSpec
from slimprune.models.ultralytics_detectors import HEADS, is_detector

PREFIX, FALLBACK = "yolo", "yolo11n"
"""Prefix of names, and the network as which one that says no name presents itself to ultralytics."""

_SIZED = re.compile(r"(yoloe?-?v?\d+)([a-z]?)(.*)")
"""Generation, letter of the size, and kind of a network in a name of ultralytics."""

_APART = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
"""Environment in which ultralytics neither calls its maker's servers nor installs packages by itself."""


def build(prefix: str, name: str, inputs: InputSpec) -> nn.Module:
    """Build a YOLO with random weights from the description that ultralytics ships; nothing is downloaded.

    Args:
        prefix: "yolo".
        name: A name of ultralytics, such as `yolo11n`.
        inputs: Image channels and size, and the number of classes.

    Raises:
        UsageError: If ultralytics is not installed, or has no such network.
        UnsupportedModelError: If the network finds more than boxes, or needs more than images.
    """
    described = _description(prefix, name)
    head = described["head"][-1][2]
    if head not in HEADS:
        rule = f"expected a network that finds boxes in images alone (its head is {' or '.join(HEADS)})"
        raise UnsupportedModelError(f"{rule}, got {prefix}:{name} with the head {head}")
    tasks = importlib.import_module("ultralytics.nn.tasks")
    model: Any = tasks.DetectionModel({**described, "nc": inputs.classes}, ch=inputs.channels, verbose=False)
    model.args, model.task = dict(importlib.import_module("ultralytics.cfg").DEFAULT_CFG_DICT), "detect"
    built: nn.Module = model
    return built


def as_yolo(model: nn.Module, class_names: Sequence[str]) -> Any:
    """Return the `YOLO` of ultralytics that predicts, validates, exports and trains with a network of any widths.

    Args:
        model: A network for which `is_detector` is true; it is not copied, and its class names are set.
        class_names: Name of each class; none leave those of the network.

    Raises:
        UnsupportedModelError: If it is no such network.
    """
    if not is_detector(model):
        raise UnsupportedModelError(f"expected a YOLO of ultralytics, got {type(model).__name__}")
    network: Any = model
    network.names = dict(enumerate(class_names)) or network.names
    for block in network.modules():
        if hasattr(block, "forward_split"):  # which the library exports, with a width that is written down
            block.c = block.cv1.conv.out_channels // 2

    class Yolo(_library().YOLO):  # type: ignore[misc]  # a class of Any
        def train(self, trainer: Any = None, **settings: Any) -> Any:
            return super().train(trainer or _keeping(self.model), **settings)

    file = Path(network.yaml.get("yaml_file", f"{FALLBACK}.yaml"))
    yolo = Yolo(str(file))
    own = getattr(network, "args", {})
    network.args = {**yolo.model.args, **(own if isinstance(own, dict) else vars(own))}
    yolo.model, network.task = network.eval(), yolo.task
    network.pt_path = f"{file.stem}-slim.pt"  # by which the library names what it exports
    return yolo


def _keeping(model: Any) -> Any:
    """Return a trainer of ultralytics that trains this network; its own would build one of full width in its place."""

    class Trainer(importlib.import_module("ultralytics.models.yolo.detect").DetectionTrainer):  # type: ignore[misc]
        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            found, expected = self.data["nc"], model.model[-1].nc
            if found != expected:
                raise UnsupportedModelError(f"expected data of {expected} classes for this network, got {found}")
            return model

    return Trainer


def names() -> Mapping[str, tuple[Path, str]]:
    """Return the file and the letter of the size ("" if there is one size) of the networks of ultralytics by name.

    Raises:
        UsageError: If ultralytics is not installed.
    """
    return _names(Path(_library().__file__).parent)


@cache
def _names(folder: Path) -> Mapping[str, tuple[Path, str]]:
    found: dict[str, tuple[Path, str]] = {}
    for file in sorted((folder / "cfg" / "models").rglob("*.yaml")):
        sized = _SIZED.fullmatch(file.stem)
        sizes = yaml.safe_load(file.read_text()).get("scales", {})
        if sized is None or not sizes or sized[2]:
            found[file.stem] = (file, sized[2] if sized is not None and sizes else "")
        else:
            found |= {f"{sized[1]}{size}{sized[3]}": (file, size) for size in sizes}
    return found


def _description(prefix: str, name: str) -> dict[str, Any]:
    """Return the description of a network as ultralytics reads it from its file."""
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f" (did you mean {', '.join(f'{prefix}:{one}' for one in close)}?)" if close else ""
        rule = f"expected {prefix}:NAME with a name of ultralytics, such as {prefix}:yolo11n"
        raise UsageError(f"{rule}, got {f'{prefix}:{name}'!r}{hint}")
    file, size = known[name]
    return {**yaml.safe_load(file.read_text()), "scale": size, "yaml_file": f"{name}.yaml"}


def _library() -> Any:
    try:
        with _environment():
            return importlib.import_module("ultralytics")
    except ModuleNotFoundError as error:
        told = f"expected ultralytics for {PREFIX!r}, found none: pip install 'slimprune[ultralytics]'"
        raise UsageError(told) from error


@contextmanager
def _environment() -> Iterator[None]:
    """Set what ultralytics reads when it is imported, without its messages; what the user has set stays as it is."""
    before, silent = dict(os.environ), logging.root.manager.disable
    logging.disable(logging.WARNING)
    os.environ.update({**_APART, "YOLO_CONFIG_DIR": _settings_folder().name, **before})
    try:
        yield
    finally:
        logging.disable(silent)
        for name in [name for name, value in os.environ.items() if before.get(name) != value]:
            del os.environ[name]
            os.environ.update({name: before[name]} if name in before else {})


@cache
def _settings_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder for the settings that ultralytics writes when it is imported, removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="ultralytics-")


FAMILY = Family(
    (Architecture(f"{PREFIX}:NAME", DETECTION, "a detector of ultralytics (pip install 'slimprune[ultralytics]')"),),
    build,
)
