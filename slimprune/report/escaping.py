"""Names and texts of a document made harmless: for Markdown, whose readers take HTML and links, and for XML."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from slimprune.errors import visible

Value = TypeVar("Value")

_ENTITY = re.compile(r"&(?=#?\w+;)")
_LINKS = re.compile(r"[\[`]")


def for_markdown(document: Value) -> Value:
    r"""Return a copy of a document whose texts, keys included, stand in Markdown as they are.

    Names come from files that others wrote, so neither HTML nor links nor line breaks in them may have an effect.

    Examples:
        >>> for_markdown({"arch": "<img src=x>", "seeds": [1]})
        {'arch': '&lt;img src=x>', 'seeds': [1]}
    """
    return _mapped(document, _markdown)


def for_pages(document: Value) -> Value:
    """Return a copy of a document whose texts hold no control characters, which neither HTML nor SVG may."""
    return _mapped(document, visible)


def _mapped(value: Value, change: Callable[[str], str]) -> Value:
    """Return a copy of plain values with every text changed."""
    found: Any = value
    if isinstance(found, str):
        found = change(found)
    elif isinstance(found, Mapping):
        found = {_mapped(key, change): _mapped(each, change) for key, each in found.items()}
    elif isinstance(found, list | tuple):
        found = type(found)([_mapped(each, change) for each in found])
    return cast(Value, found)


def _markdown(text: str) -> str:
    line = visible(" ".join(text.splitlines()))
    return _LINKS.sub(r"\\\g<0>", _ENTITY.sub("&amp;", line).replace("<", "&lt;"))
