"""Code that a recipe or a grid names runs only if the user allows it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import slimprune as library
from slimprune.errors import UsageError
from slimprune.pipeline.trust import check_trusted
from tests.commands import Run, error_line, listing

MARK = "from pathlib import Path\nPath('has-run').touch()\n"
NAMED = [
    {"arch": "evil.py:build"},
    {"arch": "http.server:test"},
    {"data": "evil.py:load"},
    {"criterion": "evil.py:Criterion"},
    {"rule": "evil.py:rule"},
]


@pytest.mark.parametrize("named", NAMED, ids=str)
@pytest.mark.parametrize("command", ["plan --config r.yaml", "run r.yaml", "compress --config r.yaml --out x.onnx"])
def test_a_recipe_that_names_code_is_refused(
    folder: Path, slimprune: Callable[..., Run], named: dict[str, str], command: str
) -> None:
    Path("evil.py").write_text(MARK)
    Path("r.yaml").write_text(json.dumps({"arch": "vgg11", **named}))
    result = slimprune(*command.split())
    (value,) = named.values()
    assert error_line(result) == f"error: recipe r.yaml names the code {value}: allow it with --trust-code"
    assert result[0] == 2
    assert listing(folder) == ["evil.py", "r.yaml"]


def test_so_is_one_that_is_inspected(folder: Path, slimprune: Callable[..., Run]) -> None:
    Path("evil.py").write_text(MARK)
    Path("r.yaml").write_text("arch: evil.py:build")
    assert "allow it with --trust-code" in error_line(slimprune("inspect", "--config", "r.yaml", "--shape", "3,8,8"))
    assert listing(folder) == ["evil.py", "r.yaml"]


@pytest.mark.parametrize("trust", [["--trust-code"], ["--arch", "evil.py:build"]], ids=["by the option", "by a flag"])
def test_code_that_the_user_names_or_allows_is_run(
    folder: Path, slimprune: Callable[..., Run], trust: list[str]
) -> None:
    Path("evil.py").write_text(MARK)
    Path("r.yaml").write_text("arch: evil.py:build")
    assert "expected a factory 'build'" in error_line(slimprune("plan", "--config", "r.yaml", *trust))
    assert Path("has-run").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"base": {"arch": "evil.py:build"}},
        {"criteria": ["evil.py:Criterion"]},
        {"criteria": [" evil.py:Criterion "]},
        {"rules": ["evil.py:rule"], "criteria": ["3sp"]},
        {"rows": {"mine": {"criterion": "evil.py:Criterion"}}},
    ],
    ids=str,
)
def test_a_grid_that_names_code_is_refused(folder: Path, slimprune: Callable[..., Run], change: dict[str, Any]) -> None:
    Path("evil.py").write_text(MARK)
    grid = {"base": {"arch": "vgg11"}, "budgets": ["params=0.5"], "seeds": [0], "criteria": ["3sp"], **change}
    Path("g.yaml").write_text(json.dumps(grid))
    result = slimprune("compare", "g.yaml")
    assert "grid g.yaml names the code" in error_line(result)
    assert (result[0], listing(folder)) == (2, ["evil.py", "g.yaml"])
    with pytest.raises(UsageError, match="allow it with --trust-code"):
        library.compare(Path("g.yaml"), out=folder / "out")
    assert "evil.py" in error_line(slimprune("compare", "g.yaml", "--trust-code"))
    assert Path("has-run").exists()


def test_a_name_in_binary_text_is_seen(folder: Path, slimprune: Callable[..., Run]) -> None:
    Path("r.yaml").write_text("arch: !!binary ZXZpbC5weTpidWlsZA==")
    assert "names the code evil.py:build" in error_line(slimprune("plan", "--config", "r.yaml"))


def test_names_that_are_no_code_pass() -> None:
    fields = {"arch": "unet:depth=3,width=16", "data": "folder:images", "rule": "profile:score=0,reuse=0.15"}
    check_trusted({**fields, "rows": {"a:b": {"weights": "evil.py:x"}}}, "recipe", trust_code=False)
