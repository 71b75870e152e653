"""The entry points of installed packages, imported only when they are needed."""

import sys
from functools import lru_cache
from importlib import metadata

from slimprune.registry.user_code import Failure, in_one_line


def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """Return all entry points of a group; search for packages again if the import path has changed."""
    return _entry_points(group, tuple(sys.path))


def package_of(point: metadata.EntryPoint) -> str:
    """Return the name and version of the package that provides an entry point."""
    return "of unknown name" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def load(point: metadata.EntryPoint, what: str, failure: Failure) -> object:
    """Import the object of an entry point; raise `failure` with one line that names the package if that fails."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise failure(
            f"{what} {point.name!r} of the package {package_of(point)} cannot be loaded from {point.value}: "
            f"{in_one_line(error)}"
        ) from error


@lru_cache
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=group))
