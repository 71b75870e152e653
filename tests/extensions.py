"""What tests of extensions share: entries for the time of a test, and packages as an installer leaves them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slimprune.registry import Registry


def restored(monkeypatch: pytest.MonkeyPatch, registry: Registry[Any]) -> None:
    """Whatever the test registers is gone after it."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def replaced_entry(monkeypatch: pytest.MonkeyPatch, registry: Registry[Any], name: str, thing: object) -> None:
    """Another thing under a known name, for the time of the test."""
    restored(monkeypatch, registry)
    registry._entries[name] = replace(registry._entries[name], load=lambda: thing)


def install(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    entry_points: Mapping[str, Mapping[str, str]],
    version: str = "1.2",
) -> None:
    """Write the modules of a package and its metadata as an installer does.

    Args:
        folder: a folder of the import path.
        name: of the package.
        files: text by file name.
        entry_points: what leads where, by group.
    """
    for file, text in files.items():
        (folder / file).write_text(text)
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in entry_points.items()
        for line in (f"[{group}]", *(f"{point} = {target}" for point, target in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
