"""The family of errors that slimprune raises deliberately; each subclass has its own exit code."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 200
"""Maximum number of characters of a found value in a message."""


class SlimpruneError(Exception):
    """A broken rule; the message states the rule and the value that was found."""

    exit_code = 1


class UsageError(SlimpruneError):
    """A bad option or recipe, an unknown name, an architecture that is not found, or an output that is not writable."""

    exit_code = 2


class BudgetError(SlimpruneError):
    """A budget that cannot be met; the message names the floor."""

    exit_code = 3


class UnsupportedModelError(SlimpruneError):
    """A model that cannot be slimmed, or a factory that fails or returns something that is not a module."""

    exit_code = 4


class VerificationError(SlimpruneError):
    """A failed proof, or a bundle or ONNX file that is unreadable, altered or inconsistent with its source."""

    exit_code = 5


class DataError(SlimpruneError):
    """Data that are missing, empty or unreadable."""

    exit_code = 6


FORWARD_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    ZeroDivisionError,
    NotImplementedError,
)
"""Errors that a model's forward raises on an input, a width or a device that it does not support."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def kind_and_line(error: BaseException) -> str:
    """Return the type and the first line of an error, whose message alone may say little (`KeyError: 'epoch'`)."""
    kind, said = type(error).__name__, first_line(error)
    return kind if said == kind else f"{kind}: {said}"


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of the machine or of its accelerator did not suffice."""
    return isinstance(error, MemoryError) or re.search("allocate memory|out of memory", str(error)) is not None


_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text with control characters as visible escapes, which a terminal or a reader of XML would act on.

    These are all but line feed and tab, those that turn the direction of writing, and surrogates.

    Examples:
        >>> visible("name\x1b[2J")
        'name\\x1b[2J'
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint for the end of a message about an unknown name: the known names close to it, if any.

    Examples:
        >>> did_you_mean("resnet19", ["vgg19", "resnet18"])
        ' (did you mean resnet18?)'
    """
    close = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {', '.join(close)}?)" if close else ""


def expected_and_found(problem: Mapping[str, Any]) -> str:
    """Return a problem reported by pydantic in the form `field: expected X, got Y`.

    Examples:
        >>> expected_and_found({"type": "missing", "loc": ("plan", "rule"), "msg": "Field required", "input": {}})
        'plan.rule: expected a field, got none'
    """
    name, found = ".".join(str(part) for part in problem["loc"] if part != "[key]"), problem["input"]
    prefix = f"{name}: " if name else ""
    if problem["type"] == "missing":
        return f"{prefix}expected a field, got none"
    if problem["type"] == "json_invalid":
        return f"{prefix}expected JSON, got {problem['msg'].removeprefix('Invalid JSON: ')}"
    if problem["type"] == "path_type":
        return f"{prefix}expected a path, got {found!r}"
    rule = problem["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    # Pydantic's own remark on the value would repeat it.
    for remark in (", unable to ", ", got "):
        rule = rule.partition(remark)[0]
    return f"{prefix}{rule}, got {shortened(repr(found))}"


def shortened(text: str) -> str:
    """Return text cut to the length that a message may quote."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
