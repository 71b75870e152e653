"""The layers of the package: who may import whom, and what may not be imported at all."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import slimprune

PACKAGE = Path(slimprune.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = [
    {"bounded", "errors", "interruption", "onnx_sessions", "scale", "types"},
    {"files", "forward", "measure", "preprocessing", "ranks", "recipe", "registry", "statistics"},
    {"data", "export", "graph", "models", "prediction", "regression", "training"},
    {"saliency", "tasks"},
    {"budget", "masks"},
    {"surgery", "timing", "weight_sharing"},
    {"results"},
    {"report"},
    {"pipeline"},
    {"comparison"},
    {"cli", "__init__"},
    {"__main__"},
]
"""From the ground up: a file imports from its own part and from parts further down, never from its own floor."""

BARRED = {
    "export": {"recipe"},
    "graph": {"recipe"},
    "regression": {"recipe"},
    "training": {"recipe"},
    "saliency": {"data", "models", "training", "export", "recipe"},
    "tasks": {"data", "models", "export", "recipe"},
    "masks": {"data", "models", "training", "export", "recipe"},
    "budget": {"data", "models", "training", "export", "recipe"},
    "surgery": {"data", "training", "export", "recipe"},
    "timing": {"data", "models", "saliency"},
    "weight_sharing": {"data", "models", "training", "export", "recipe", "saliency"},
    "report": {"surgery", "timing", "models", "data"},
}
"""Libraries that stand below and are none of a part's business."""


def part(file: Path) -> str:
    """The package or top-level module that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of all that is imported anywhere in a file, `from a import b` as a.b; relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imports_of(file: Path) -> list[str]:
    package = ".".join([PACKAGE.name, *file.relative_to(PACKAGE).parts[:-1]])
    return list(imported(ast.parse(file.read_text()), package))


def floor(owner: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if owner in parts)


def refused(owner: str, names: list[str]) -> list[str]:
    """Those of the imported names that a file of `owner` may not import."""
    targets = {name: name.split(".")[1] for name in names if name.startswith("slimprune.")}
    return [
        name
        for name, target in targets.items()
        if target != owner and (floor(target) >= floor(owner) or target in BARRED.get(owner, ()))
    ]


def test_every_part_stands_on_one_floor() -> None:
    standing = [part for parts in FLOORS for part in parts]
    assert sorted(standing) == sorted({part(file) for file in FILES})


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_downwards(file: Path) -> None:
    assert refused(part(file), imports_of(file)) == []


@pytest.mark.parametrize(
    ("owner", "source", "found"),
    [
        ("graph", "from slimprune.budget import Plan", ["slimprune.budget.Plan"]),
        ("graph", "def f():\n    import slimprune.saliency.score", ["slimprune.saliency.score"]),
        ("training", "from slimprune import pipeline", ["slimprune.pipeline"]),
        ("training", "from ..export import export_onnx", ["slimprune.export.export_onnx"]),
        ("budget", "from slimprune.graph import ChannelGroup\nfrom slimprune.errors import UsageError", []),
    ],
)
def test_the_walk_finds_forbidden_edges(owner: str, source: str, found: list[str]) -> None:
    assert refused(owner, list(imported(ast.parse(source), f"slimprune.{owner}"))) == found


def users(library: str) -> set[str]:
    """Parts of the package in which a library is imported."""
    return {
        part(file) for file in FILES for name in imports_of(file) if name == library or name.startswith(f"{library}.")
    }


def test_libraries_are_imported_in_few_parts() -> None:
    assert users("torch_pruning") == {"saliency"}
    assert users("datasets") <= {"data"}
    assert users("torchvision.datasets") <= {"data"}
    assert users("typer") == {"cli"}
    assert users("rich") == {"cli", "report"}
    assert users("matplotlib") == {"report"}


def test_only_the_command_line_prints() -> None:
    printing = {
        part(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {"cli"}


def test_the_package_can_be_imported_without_data_set_libraries() -> None:
    blocked = "import sys; sys.modules.update(datasets=None, fvcore=None); import slimprune; slimprune.load"
    subprocess.run([sys.executable, "-c", blocked], check=True, timeout=120)


def test_public_names_type_checkers_and_lazy_imports_agree() -> None:
    source = ast.parse((PACKAGE / "__init__.py").read_text())
    shown = next(node for node in source.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    for_checkers = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in shown.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazily = {
        name: f"slimprune.{module}.{slimprune._ORIGINAL_NAMES.get(name, name)}"
        for name, module in slimprune._MODULES.items()
    }
    assert sorted(for_checkers) == sorted(slimprune.__all__)
    assert lazily == for_checkers


def test_a_name_that_the_package_does_not_have() -> None:
    with pytest.raises(AttributeError, match="module 'slimprune' has no attribute 'compres'"):
        _ = slimprune.compres  # type: ignore[attr-defined]
