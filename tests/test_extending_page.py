"""Every example of docs/extending.md: files are written and used by the page's own commands, the rest is executed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.extensions import install

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


def python(folder: Path, code: str, text: str = "", path: Path | None = None) -> str:
    """What a program prints that runs in `folder`."""
    code = code if path is None else f"import sys\nsys.path.insert(0, {str(path)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, cwd=folder, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_files_are_used_by_the_commands(tmp_path: Path) -> None:
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert all(any(name in line for line in commands) for name in files())
    out = python(tmp_path, RUN, "\n".join(commands))
    assert out.count("\n+ ") + 1 == len(commands)
    # The network of the operator has two convolutions, and both give channels away but the operator's rule is needed.
    inspection = out.partition("my_operator.py:net")[2]
    assert "there is no rule" not in inspection
    assert (tmp_path / "stripes.onnx").exists()


def test_what_is_registered_in_python_is_executed(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("python") if block not in files().values()]
    python(tmp_path, block)


def test_a_package_offers_the_same(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    points = tomllib.loads(text)["project"]["entry-points"]
    (tmp_path / "my_package").mkdir()
    modules = {"criteria": "my_criterion.py", "data": "my_data.py"}
    install(
        tmp_path,
        "my-package",
        {f"my_package/{module}.py": files()[file] for module, file in modules.items()} | {"my_package/__init__.py": ""},
        points,
    )
    names = [(group.rpartition(".")[2], name) for group, named in points.items() for name in named]
    lists = "\n".join(f"slimprune list {kind}" for kind, _ in names)
    command = "slimprune plan --arch resnet20 --criterion largest-weight --data stripes --ratio 0.5"
    out = python(tmp_path, RUN, f"{lists}\n{command}", path=tmp_path)
    assert all(re.search(rf"^{name} ", out, re.MULTILINE) for _, name in names)
    assert "unavailable" not in out
