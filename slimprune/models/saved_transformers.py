"""Slim models of transformers as files: a configuration describes the dense model, which is built from it again."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn

from slimprune.errors import DataError, UnsupportedModelError, first_line

NOTE = "slimprune"
"""Field of a configuration with which layers are narrower than it describes, or which layers the model has."""

Widths = Mapping[str, Mapping[str, int]]

HOW = (
    "these layers are narrower than this configuration says, so that from_pretrained cannot fill them: write the slim "
    "model by its save(FOLDER) and read it by slimprune.load(FOLDER)"
)


def note_narrowed(module: nn.Module, dense: Widths, slim: Widths) -> None:
    """Write into the configuration of a model of transformers which of its layers are narrower than it says.

    `save_pretrained` writes the configuration into `config.json`. Modules of other kinds are left as they are.

    Args:
        module: A slim module, with a configuration of its own.
        dense: Width attributes of every layer of the dense module.
        slim: Those of the slim one.
    """
    config = getattr(module, "config", None)
    changed = {
        name: {key: f"{dense[name][key]} -> {width}" for key, width in widths.items() if width != dense[name][key]}
        for name, widths in slim.items()
    }
    narrowed = {name: widths for name, widths in changed.items() if widths}
    if narrowed and hasattr(module, "save_pretrained") and hasattr(config, "to_json_string"):
        setattr(config, NOTE, {"reload": HOW, "narrowed": narrowed})


def configuration_of_object(module: nn.Module) -> str | None:
    """Return the JSON text from which `from_configuration` builds the dense model of a slim one.

    None for modules whose class is not one of transformers itself.
    """
    kind, config = type(module), cast(Any, getattr(module, "config", None))
    if not kind.__module__.startswith("transformers.") or not hasattr(config, "to_json_string"):
        return None
    fields = {**json.loads(config.to_json_string(use_diff=False)), "architectures": [kind.__name__]}
    return json.dumps({**fields, NOTE: {"layers": _layers(module)}}, indent=1) + "\n"


def from_configuration(file: Path) -> nn.Module:
    """Build the dense model that `configuration_of_object` described, with random weights; no code of the file is run.

    Raises:
        DataError: If transformers is not installed, the file cannot be read, or the model had other layers, because it
            was changed after it was built.
        UnsupportedModelError: If transformers has no such class, or cannot build it.
    """
    try:
        library: Any = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise DataError(
            f"expected transformers for {file}, found none: pip install 'slimprune[transformers]'"
        ) from error
    try:
        layers = json.loads(file.read_bytes())[NOTE]["layers"]
        config = library.AutoConfig.from_pretrained(str(file), local_files_only=True, trust_remote_code=False)
        name = str(config.architectures[0])
    except Exception as error:  # unknown types and damaged files raise errors of several types
        raise DataError(f"configuration {file} cannot be read: {first_line(error)}") from error
    kind = getattr(library, name, None)
    if not (isinstance(kind, type) and issubclass(kind, library.PreTrainedModel)):
        raise UnsupportedModelError(f"expected a class of transformers in {file}, got {name}")
    try:
        dense: nn.Module = kind(config)
    except Exception as error:  # each model has checks of its own
        raise UnsupportedModelError(f"transformers cannot build {name} of {file}: {first_line(error)}") from error
    if differing := sorted(dict(set(_layers(dense).items()) ^ set(layers.items()))):
        rule = f"expected the layers that configuration {file} describes"
        raise DataError(f"{rule}, got another {differing[0]}: pass the dense model as model=...")
    return dense


def _layers(module: nn.Module) -> dict[str, str]:
    """Return the class of every layer by its name."""
    return {name: type(layer).__qualname__ for name, layer in module.named_modules() if name}
