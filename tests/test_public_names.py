"""What `import slimprune` offers: whatever a public function takes or gives can be named from there."""

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

import slimprune
from slimprune import errors
from slimprune.recipe import SettingsBesideTask

FUNCTIONS = {name: value for name in slimprune.__all__ if inspect.isfunction(value := getattr(slimprune, name))}


def own_types(annotation: Any) -> Iterator[type]:
    """The classes of this package inside an annotation."""
    if inspect.isclass(annotation) and annotation.__module__.startswith("slimprune."):
        yield annotation
    for part in get_args(annotation):
        yield from (found for one in (part if isinstance(part, list) else [part]) for found in own_types(one))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_types_of_a_public_function_are_public(name: str) -> None:
    public = {getattr(slimprune, name) for name in slimprune.__all__ if inspect.isclass(getattr(slimprune, name))}
    needed = {kind for hint in get_type_hints(FUNCTIONS[name]).values() for kind in own_types(hint)}
    # Written out by whoever calls `compress`; as a type there is `RecipeSettings`.
    assert needed - {SettingsBesideTask} <= public


def test_every_error_is_public() -> None:
    family = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert family <= set(slimprune.__all__)
