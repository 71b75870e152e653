"""Loading the user's own code by name: `path/to/file.py:Name` or `package.module:Name`."""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from slimprune.errors import SlimpruneError, UsageError

Failure = type[SlimpruneError]

KEYWORD_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
VARIADIC_KINDS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


class NoSuchModuleError(UsageError):
    """A module that does not exist."""


def names_code(name: str) -> bool:
    """Return whether a name has the form of code: a location, a colon, an identifier.

    >>> [names_code(name) for name in ("net.py:build", "package.module:build", "unet:depth=3", "unet")]
    [True, True, False, False]
    """
    location, _, attribute = name.rpartition(":")
    return bool(location) and attribute.isidentifier()


def code_file(name: str) -> Path | None:
    """Return the file that contains the code of a name, without running it; None if there is no such file."""
    location = _location(name) if names_code(name) else ""
    if location.endswith(".py"):
        return Path(location) if Path(location).is_file() else None
    spec = None
    with importable(name), suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(location) if location else None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and Path(origin).is_file() else None


@contextmanager
def importable(name: str) -> Iterator[None]:
    """Let the code of a name import neighbouring modules within the context.

    These are in the file's own folder (for a file) or in the current directory (for a module). Names that are not code
    change nothing.
    """
    if not names_code(name):
        yield
        return
    location = _location(name)
    entry = str(Path(location).resolve().parent if location.endswith(".py") else Path.cwd())
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def load_code(name: str, noun: str, failure: Failure) -> object:
    """Import the file or module of a name, and return the object that the name refers to.

    Args:
        name: "path/to/file.py:Name" or "package.module:Name".
        noun: Expected kind of object with its article, as used in errors.
        failure: Error to raise if the code itself raises.

    Raises:
        UsageError: If the file, the module or the name in it is not found.
    """
    location, _, attribute = name.rpartition(":")
    with importable(name):
        is_file = location.endswith(".py")
        module = _load_file(Path(location), failure) if is_file else _load_module(location, failure)
    if not hasattr(module, attribute):
        raise UsageError(f"expected {noun} {attribute!r} in '{location}', found none")
    return getattr(module, attribute)


def call_with(function: Callable[..., object], offered: Mapping[str, object], label: str, failure: Failure) -> object:
    """Call a function with those of the offered arguments that its signature names.

    A function with `**settings` is given the others too, except those that it refuses as unexpected.

    Args:
        function: Function to call.
        offered: Arguments by name.
        label: Description of the function in errors.
        failure: Error to raise if the function raises anything but a `SlimpruneError`, or requires other arguments.
    """
    arguments, tried = _arguments(function, offered, label, failure)
    while True:
        try:
            return function(**arguments, **tried)
        except SlimpruneError:
            raise
        except (Exception, SystemExit) as error:
            refused = _refused(error)
            if refused not in tried:
                raise failure(f"{label} raised {in_one_line(error)}") from error
            tried = {name: value for name, value in tried.items() if name != refused}


def _refused(error: BaseException) -> str:
    """Return the name of the argument that an error calls unexpected; empty for other errors.

    A function that hands its `**settings` on shows only in the call which of them are accepted further down.
    """
    found = _UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    return found[1] if found else ""


def in_one_line(error: BaseException) -> str:
    """Return the type and the message of an error in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _location(name: str) -> str:
    return name.rpartition(":")[0]


def _load_file(path: Path, failure: Failure) -> ModuleType:
    """Execute the file as a module with a unique name; execute it again only if its content has changed."""
    if not path.is_file():
        raise UsageError(f"expected a Python file, found none at '{path}'")
    name = f"slimprune_user_{path.stem}_{_digest(str(path.resolve()).encode())}"
    content, loaded = _digest(path.read_bytes()), sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__slimprune_content__", None) == content:
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"expected a Python file, got '{path}'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise failure(f"importing '{path}' raised {in_one_line(error)}") from error
    module.__dict__["__slimprune_content__"] = content
    return module


def _load_module(name: str, failure: Failure) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise NoSuchModuleError(f"found no module {missing!r}") from error
        raise failure(f"importing {name!r} raised {in_one_line(error)}") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _arguments(
    function: Callable[..., object], offered: Mapping[str, object], label: str, failure: Failure
) -> tuple[dict[str, object], dict[str, object]]:
    """Return the offered arguments that the signature names, and those that its `**settings` may accept."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise failure(f"expected a readable signature of {label}, got none") from error
    given = {p.name: offered[p.name] for p in parameters if p.name in offered and p.kind in KEYWORD_KINDS}
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in VARIADIC_KINDS]
    unknown = [name for name in needed if name not in given]
    if unknown:
        known = " and ".join(offered)
        raise failure(f"expected {label} to require at most {known}, got {', '.join(unknown)}")
    variadic = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return given, {name: value for name, value in offered.items() if variadic and name not in given}
