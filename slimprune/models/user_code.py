"""Architectures from the user's own code: `package.module:factory` or `path/to/file.py:factory`."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.models.architecture import InputSpec

KEYWORD_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
VARIADIC_KINDS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def build(arch: str, inputs: InputSpec) -> nn.Module:
    """Import the module, call the factory and return its model.

    The factory is given those of `num_classes` and `in_channels` that its signature names. While the code is imported
    and called, the file's own folder (for a file) or the current directory (for a module) can be imported from.

    Args:
        arch: "package.module:factory" or "path/to/file.py:factory".
        inputs: Where `num_classes` (classes) and `in_channels` (channels) come from.

    Raises:
        UsageError: If the file, the module or the factory is not found.
        UnsupportedModelError: If the code raises, wants other arguments, or returns no `nn.Module`.
    """
    location, _, attribute = arch.rpartition(":")
    is_file = location.endswith(".py")
    with _importable(Path(location).resolve().parent if is_file else Path.cwd()):
        module = _load_file(Path(location)) if is_file else _load_module(location)
        factory = _find_factory(module, attribute, arch)
        model = _call(factory, _arguments(factory, inputs, arch), arch)
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected factory {arch!r} to return an nn.Module, got {type(model).__name__}")
    return model


@contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """Let imports search `directory` first, for the time of the context."""
    entry = str(directory)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _load_file(path: Path) -> ModuleType:
    """Execute the file afresh, under a module name of its own, so that a file can be loaded again after a change."""
    if not path.is_file():
        raise UsageError(f"expected a Python file, found none at '{path}'")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"slimprune_user_{path.stem}_{digest}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"expected a Python file, got '{path}'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise UnsupportedModelError(f"importing '{path}' raised {_one_line(error)}") from error
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise UsageError(f"expected an importable module, found no module {missing!r}") from error
        raise UnsupportedModelError(f"importing {name!r} raised {_one_line(error)}") from error


def _find_factory(module: ModuleType, attribute: str, arch: str) -> Callable[..., object]:
    factory = getattr(module, attribute, None)
    if factory is None:
        raise UsageError(f"expected a factory {attribute!r} in '{arch.rpartition(':')[0]}', found none")
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UnsupportedModelError(f"expected {arch!r} to be a factory, got a {type(factory).__name__} object")
    return factory  # type: ignore[no-any-return]


def _arguments(factory: Callable[..., object], inputs: InputSpec, arch: str) -> dict[str, int]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise UnsupportedModelError(f"expected a readable signature of factory {arch!r}, got none") from error
    offered = {"num_classes": inputs.classes, "in_channels": inputs.channels}
    given = {p.name: offered[p.name] for p in parameters if p.name in offered and p.kind in KEYWORD_KINDS}
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in VARIADIC_KINDS]
    unknown = [name for name in needed if name not in given]
    if unknown:
        raise UnsupportedModelError(
            f"expected factory {arch!r} to require at most num_classes and in_channels, got {', '.join(unknown)}"
        )
    return given


def _call(factory: Callable[..., object], arguments: dict[str, Any], arch: str) -> object:
    try:
        return factory(**arguments)
    except (Exception, SystemExit) as error:
        raise UnsupportedModelError(f"factory {arch!r} raised {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
