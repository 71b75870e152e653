"""The fields of a recipe as flags of a command."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from slimprune.recipe import Recipe, default_text

Command = Callable[..., None]


def takes_recipe(command: Command) -> Command:
    """Adds a flag for every field of `Recipe`; the command receives those that were given as `settings`."""
    return takes_fields(*Recipe.model_fields)(command)


def takes_fields(*names: str) -> Callable[[Command], Command]:
    """Adds flags for some fields of `Recipe`, as `takes_recipe` does for all."""
    return lambda command: _with_flags(command, {name: Recipe.model_fields[name] for name in names})


def _with_flags(command: Command, fields: Mapping[str, FieldInfo]) -> Command:
    def with_settings(**given: Any) -> None:
        settings = {field.alias or name: given.pop(name) for name, field in fields.items()}
        command(settings={name: value for name, value in settings.items() if value is not None}, **given)

    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "settings"]
    flags = [_flag(name, field) for name, field in fields.items()]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*flags, *own)]
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_settings.__name__, with_settings.__doc__ = command.__name__, command.__doc__
    return with_settings


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """The flag of one field; its text is parsed and checked by the recipe itself."""
    option = "--" + (field.alias or name).replace("_", "-")
    kinds = (field.annotation, *get_args(field.annotation))
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    chosen = f": {', '.join(choices)}" if choices else ""
    default = f" (default {default_text(name)})" if default_text(name) else ""
    help_text = f"{field.description}{chosen}{default}"
    if bool in kinds:
        kind: Any = Annotated[bool | None, typer.Option(f"{option}/--no-{option[2:]}", help=help_text)]
    else:
        metavars = {float: "X", int: "N", Path: "FILE", tuple[str, ...]: "NAME,...", dict: "NAME=X,..."}
        metavar = next((metavars[kind] for kind in (*kinds, get_origin(field.annotation)) if kind in metavars), "NAME")
        kind = Annotated[str | None, typer.Option(option, help=help_text, metavar=metavar)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
