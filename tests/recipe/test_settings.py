import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, Unpack, get_args, get_origin, get_type_hints

import pytest

import slimprune
from slimprune import pipeline
from slimprune.pipeline.compress import compress
from slimprune.recipe import Recipe, RecipeSettings, SettingsBesideTask
from slimprune.types import Quantity

WIDER = {
    Path: {Path, str},
    tuple[str, ...]: {Sequence[str], str},
    tuple[float, ...]: {Sequence[float], str},
    tuple[int, ...]: {Sequence[int], str},
    dict[Quantity, float]: {Mapping[Quantity, float], str},
}
"""Type of a field -> types from which a recipe reads it; other fields are given as they are."""


def kinds(annotation: Any) -> set[Any]:
    """The members of a union, without pydantic's remarks."""
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return {kind for member in get_args(annotation) for kind in kinds(member)}
    return {annotation}


HINTS = get_type_hints(RecipeSettings)
FIELDS = get_type_hints(Recipe)  # without Annotated, so without pydantic's remarks inside other types


def test_the_settings_are_the_fields_of_the_recipe_and_their_aliases() -> None:
    aliases = {field.alias for field in Recipe.model_fields.values() if field.alias}
    assert aliases == {"and"}
    assert HINTS.keys() == Recipe.model_fields.keys() | aliases
    assert RecipeSettings.__required_keys__ == frozenset()


@pytest.mark.parametrize("name", Recipe.model_fields)
def test_the_types_are_those_of_the_fields_or_wider(name: str) -> None:
    expected = {wide for kind in kinds(FIELDS[name]) for wide in WIDER.get(kind, {kind})}
    assert kinds(HINTS[name]) == expected
    alias = Recipe.model_fields[name].alias
    assert alias is None or HINTS[alias] == HINTS[name]


def test_the_keyword_arguments_of_the_commands_are_the_settings() -> None:
    assert get_type_hints(compress)["settings"] == Unpack[SettingsBesideTask]
    assert get_type_hints(pipeline.plan)["settings"] == Unpack[RecipeSettings]
    assert get_type_hints(pipeline.inspect_named)["settings"] == Unpack[RecipeSettings]
    assert HINTS.keys() - get_type_hints(SettingsBesideTask).keys() == {"task", "loss", "metric"}


def test_mypy_refuses_a_wrong_name_and_a_wrong_type(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    lines = [
        "from slimprune.pipeline.compress import compress, plan; from slimprune.recipe import RecipeSettings",
        "compress('vgg19', ratio=0.9, also={'macs': 0.8}, out='a.onnx', loss='dice')",
        "of_file: RecipeSettings = {'epochs': 3, 'loss': 'dice', 'and': 'macs=0.8'}; plan(**of_file)",
        "compress('vgg19', ration=0.9)",
        "plan(epochs='many')",
        "plan(of='flops')",
    ]
    snippet.write_text("\n".join(lines) + "\n")
    package = Path(slimprune.__file__).parent
    # Only what the types of the settings need is read: all of torch would take a minute.
    own = [package / "pipeline" / "compress.py", *(package / "recipe").glob("*.py"), package / "types.py"]
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--config-file=", f"--cache-dir={tmp_path}"]
    done = subprocess.run([*command, snippet, *own], capture_output=True, text=True, timeout=300, cwd=package.parent)
    errors = [line.partition("snippet.py:")[2] for line in done.stdout.splitlines() if "snippet.py" in line]
    assert [error.partition(":")[0] for error in errors if "error" in error] == ["4", "5", "6"], done.stdout
    assert 'Unexpected keyword argument "ration"' in errors[0]
