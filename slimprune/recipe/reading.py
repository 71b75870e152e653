"""Reading and validating recipes from files and keyword arguments."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from slimprune.bounded import read_bounded
from slimprune.errors import UsageError
from slimprune.recipe.fields import Recipe
from slimprune.recipe.wording import sentence
from slimprune.recipe.yaml_size import check_size

LARGEST = 2**20
"""Most bytes of a recipe or a grid."""

Description = TypeVar("Description", bound=BaseModel)


def make_recipe(settings: Mapping[str, object]) -> Recipe:
    """Validate plain settings and return the recipe.

    Raises:
        UsageError: If a field is unknown or a value is invalid; the message names the field.
    """
    return validated(Recipe, _as_in_files(settings))


def validated(kind: type[Description], settings: Mapping[str, object]) -> Description:
    """Validate plain settings and return an object of the class `kind`.

    Raises:
        UsageError: If a field is unknown or a value is invalid; the message names the field.
    """
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        known = [field.alias or name for name, field in kind.model_fields.items()]
        raise UsageError("; ".join(sentence(dict(problem), known) for problem in error.errors())) from error


def read_recipe(path: Path) -> dict[str, object]:
    """Return the settings in a YAML file without validating them.

    Raises:
        UsageError: If the file is missing, is not YAML, or does not contain a mapping.
    """
    try:
        text = read_bounded(path, LARGEST).decode()
        check_size(text)
        settings = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"recipe {path} cannot be read: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"recipe {path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise UsageError(f"recipe {path}: expected a mapping of fields, got {type(settings).__name__}")
    return _as_in_files(settings)


def _as_in_files(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings under the names used in files and flags, such as `and`, which is reserved in Python.

    Raises:
        UsageError: If a field is given under both of its names.
    """
    aliases = {name: field.alias for name, field in Recipe.model_fields.items() if field.alias}
    for name, alias in aliases.items():
        if name in settings and alias in settings:
            raise UsageError(f"expected {alias} once, got {name} as well")
    return {aliases.get(name, name): value for name, value in settings.items()}
