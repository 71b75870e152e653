"""The fields of a recipe as flags of a command."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from slimprune.errors import UsageError
from slimprune.recipe import PANELS, Recipe, default_text
from slimprune.types import AUTO

Command = Callable[..., None]
SWITCHES_WITH_AUTO = ("amp",)
AUTO_HELP = "--amp if that makes a training step faster on this machine, which is measured once"
METAVARS = {
    float: "X",
    int: "N",
    Path: "FILE",
    tuple[str, ...]: "NAME,...",
    tuple[float, ...]: "X,...",
    tuple[int, ...]: "N,...",
    dict: "NAME=X,...",
}


def takes_recipe(command: Command) -> Command:
    """Add a flag for every field of `Recipe`; the command receives the given ones as `settings`."""
    return takes_fields(*Recipe.model_fields)(command)


def takes_fields(*names: str) -> Callable[[Command], Command]:
    """Add flags for the named fields of `Recipe`, as `takes_recipe` does for all fields."""
    panels = {name: panel for panel, members in PANELS.items() for name in members if name in names}
    return lambda command: _with_flags(command, panels)


def _with_flags(command: Command, panels: dict[str, str]) -> Command:
    """Return the command with one flag per name, in the order of `panels`, which maps names to help panels."""

    def with_settings(**given: Any) -> None:
        automatic = {name: AUTO for name in panels if name in SWITCHES_WITH_AUTO and given.pop(_automatic(name))}
        for name in automatic:
            if given[name] is not None:
                raise UsageError(f"expected either --{name} or --auto-{name}, got both")
        settings = {Recipe.model_fields[name].alias or name: given.pop(name) for name in panels} | automatic
        command(settings={name: value for name, value in settings.items() if value is not None}, **given)

    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "settings"]
    flags = [flag for name, panel in panels.items() for flag in _flags(name, panel.capitalize())]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*flags, *own)]
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_settings.__name__, with_settings.__doc__ = command.__name__, command.__doc__
    return with_settings


def _flags(name: str, panel: str) -> list[inspect.Parameter]:
    """Return the flag of one field, and that for its value `auto` if the field is a switch that has one."""
    if name not in SWITCHES_WITH_AUTO:
        return [_flag(name, panel)]
    shown = typer.Option(f"--{_automatic(name).replace('_', '-')}", metavar="", help=AUTO_HELP, rich_help_panel=panel)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        _flag(name, panel),
        inspect.Parameter(_automatic(name), keyword, default=False, annotation=Annotated[bool, shown]),
    ]


def _automatic(name: str) -> str:
    return f"auto_{name}"


def _flag(name: str, panel: str) -> inspect.Parameter:
    """Return the flag of one field; the recipe itself parses and checks its text."""
    field = Recipe.model_fields[name]
    option = "--" + (field.alias or name).replace("_", "-")
    kinds = (field.annotation, *get_args(field.annotation))
    shown: dict[str, Any] = {"help": _help(name), "rich_help_panel": panel}
    if bool in kinds:
        kind: Any = Annotated[bool | None, typer.Option(f"{option}/--no-{option[2:]}", metavar="", **shown)]
    else:
        metavar = next((METAVARS[kind] for kind in (*kinds, get_origin(field.annotation)) if kind in METAVARS), "NAME")
        kind = Annotated[str | None, typer.Option(option, metavar=metavar, **shown)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _help(name: str) -> str:
    """Return the description of a field, followed by its choices and default in one pair of brackets."""
    field = Recipe.model_fields[name]
    kinds = {field.annotation, *get_args(field.annotation)} - {type(None)}
    literals = [kind for kind in kinds if get_origin(kind) is Literal and bool not in kinds]
    # The description of some fields states their values.
    stated = not kinds.isdisjoint({int, tuple[float, ...]}) or get_origin(field.annotation) is dict
    remarks = [", ".join(get_args(kind)) for kind in literals if not stated]
    if default_text(name):
        remarks.append(f"default: {default_text(name)}")
    description = str(field.description)
    if remarks and description.endswith("`)"):
        return f"{description[:-1]}; {'; '.join(remarks)})"
    return f"{description} ({'; '.join(remarks)})" if remarks else description
