"""Every example of docs/extending.md: files are written and used by the page's own commands, the rest is executed."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from slimprune import budget, data, models
from tests.commands import Run
from tests.extensions import install, restored

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()

RUN = """
import shlex, sys
from slimprune import cli
for line in sys.stdin.read().splitlines():
    print("+", line, flush=True)
    assert cli.run(shlex.split(line)[1:]) == 0, line
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def files() -> dict[str, str]:
    """The blocks that begin with the name of a file."""
    named = {re.match(r"# (\w+\.py)\n", block): block for block in blocks("python")}
    return {match[1]: block for match, block in named.items() if match}


def test_the_files_are_used_by_the_commands(tmp_path: Path) -> None:
    """In a process of its own: an operator that torch knows cannot be taken back."""
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert all(any(name in line for line in commands) for name in files())
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input="\n".join(commands),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^\+ (.*)", done.stdout, re.MULTILINE) == commands
    assert "there is no rule" not in done.stdout
    assert (tmp_path / "stripes.onnx").exists()


def test_what_is_registered_in_python_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (budget.RULES, data.SOURCES, models.ARCHITECTURES):
        restored(monkeypatch, registry)
    (block,) = [block for block in blocks("python") if block not in files().values()]
    exec(block, {})


def test_a_package_offers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slimprune: Callable[..., Run]
) -> None:
    (text,) = blocks("toml")
    points = tomllib.loads(text)["project"]["entry-points"]
    (tmp_path / "my_package").mkdir()
    modules = {"criteria": "my_criterion.py", "data": "my_data.py"}
    texts = {f"my_package/{module}.py": files()[file] for module, file in modules.items()}
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "my-package", {**texts, "my_package/__init__.py": ""}, points)
    for group, named in points.items():
        _, out, _ = slimprune("list", group.rpartition(".")[2])
        for name in named:
            assert re.search(rf"^{name} +(?!unavailable)\w", out, re.MULTILINE)
    (tmp_path / "net.py").write_text(files()["my_network.py"])
    names = ("--arch", f"{tmp_path / 'net.py'}:net", "--criterion", "largest-weight", "--data", "stripes")
    assert slimprune("plan", *names, "--ratio", 0.5, "--quiet") == (0, "", "")
