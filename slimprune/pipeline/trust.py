"""Code that a recipe, a grid or a bundle names, which runs only if the user allows it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from slimprune.budget import RULES
from slimprune.data import SOURCES
from slimprune.errors import UsageError
from slimprune.models import ARCHITECTURES
from slimprune.recipe import ResolvedRecipe
from slimprune.registry import code_file
from slimprune.saliency import CRITERIA

NAMES_CODE: Mapping[str, Callable[[str], bool]] = {
    "arch": ARCHITECTURES.is_user_code,
    "data": SOURCES.is_user_code,
    "criterion": CRITERIA.is_user_code,
    "rule": RULES.is_user_code,
}
"""Fields of a recipe that may name code, each with a function that tells whether a value does."""
_OF_GRIDS = {"criteria": "criterion", "rules": "rule"}
"""Fields of a grid that list values of a recipe's field."""


def code_files(recipe: ResolvedRecipe) -> tuple[Path, ...]:
    """Return the files of the user's code that a recipe names as architecture, data, criterion or rule."""
    values = {name: getattr(recipe, name) for name in NAMES_CODE}
    files = (code_file(value) for name, value in values.items() if value is not None and NAMES_CODE[name](value))
    return tuple(dict.fromkeys(file for file in files if file is not None))


def check_trusted(fields: Mapping[str, object], where: str, *, trust_code: bool) -> None:
    """Check that the fields of a recipe or a grid name no code, unless it is trusted; nothing is imported.

    Args:
        fields: Fields as they were read from a file.
        where: Name of the file in the error.
        trust_code: Whether the user allows the code of the file.

    Raises:
        UsageError: If a field names code that is not trusted.
    """
    named = None if trust_code else next(_code_of(fields), None)
    if named is not None:
        raise UsageError(f"{where} names the code {named}: allow it with --trust-code")


def _code_of(value: object, field: str | None = None) -> Iterator[str]:
    """Yield every name of code in a value, at whatever depth; `field` is the recipe's field that the value is for."""
    if isinstance(value, bytes):  # YAML's binary text, of which the recipe makes a name
        yield from _code_of(value.decode(errors="replace"), field)
    elif isinstance(value, str):
        # Names are stripped when a grid is validated.
        if field is not None and any(NAMES_CODE[field](name) for name in (value, value.strip())):
            yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            inside = _OF_GRIDS.get(str(key), str(key))
            yield from _code_of(each, inside if inside in NAMES_CODE else field)
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _code_of(each, field)
