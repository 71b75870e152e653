"""The house plan as a test: who may import whom, and what may not be imported at all."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import slimprune

PACKAGE = Path(slimprune.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

ROOMS = ["models", "data", "graph", "saliency", "budget", "surgery", "training", "measure", "export", "report"]
"""In order of use: a room imports earlier rooms only."""

ALLOWED = {
    "models": set(),
    "data": set(),
    "graph": set(),
    "saliency": {"graph"},
    "budget": {"graph", "saliency"},
    "surgery": {"models", "graph", "budget"},
    "training": set(),
    "measure": {"training"},
    "export": set(),
    "report": {"graph", "budget", "training", "export", "recipe"},
    "errors": set(),
    "files": set(),
    "calling": set(),
    "recipe": set(),
    "outputs": set(),
    "workload": {*ROOMS, "recipe"},
    "steps": {*ROOMS, "recipe", "workload"},
    "pictures": {"training", "report", "workload"},
    "speed": {"measure", "export", "surgery", "training", "steps"},
    "deployment": {"budget", "data", "measure", "training", "recipe", "outputs", "speed"},
    "latency": {"budget", "graph", "measure", "saliency", "recipe", "steps", "deployment"},
    "prospect": {"budget", "saliency", "training", "report", "recipe", "outputs", "steps", "latency"},
    "pipeline": {*ROOMS, "recipe", "outputs", "workload", "steps", "pictures", "latency", "prospect"},
    "comparison": {*ROOMS, "recipe", "outputs", "workload", "steps", "prospect"},
    "benching": {"measure", "report", "surgery", "outputs", "steps", "speed"},
    "inspecting": {*ROOMS, "recipe", "outputs", "workload", "steps"},
    "cli": {"inspecting", "pipeline", "recipe", "report", "steps", "comparison", "speed", "benching"},
    "__main__": {"cli"},
    "__init__": {
        *ROOMS,
        "recipe",
        "pipeline",
        "comparison",
        "speed",
        "deployment",
        "latency",
        "benching",
        "inspecting",
    },
}
"""Beside themselves and the ground, which anyone may import."""

GROUND = ("errors", "files", "calling")


def part(file: Path) -> str:
    """The room or top-level module that a file belongs to."""
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


def refused(owner: str, names: list[str]) -> list[str]:
    """Those of the imported names that a file of `owner` may not import."""
    targets = {name: name.split(".")[1] for name in names if name.startswith("slimprune.")}
    return [name for name, target in targets.items() if target not in ALLOWED[owner] | {owner, *GROUND}]


def test_the_plan_names_every_file_and_goes_one_way() -> None:
    assert {part(file) for file in FILES} == ALLOWED.keys()
    for position, room in enumerate(ROOMS):
        assert ALLOWED[room] - {"recipe"} <= set(ROOMS[:position])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_plan(file: Path) -> None:
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
    """Rooms in which a library is imported."""
    return {
        part(file) for file in FILES for name in imports_of(file) if name == library or name.startswith(f"{library}.")
    }


def test_libraries_stay_in_their_rooms() -> None:
    assert users("torch_pruning") == set()
    assert users("datasets") <= {"data"}
    assert users("torchvision.datasets") <= {"data"}
    assert users("rich") | users("typer") == {"cli"}
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
    blocked = "import sys; sys.modules.update(datasets=None); import slimprune; slimprune.load"
    subprocess.run([sys.executable, "-c", blocked], check=True, timeout=120)
