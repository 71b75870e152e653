"""The documentation runs: the README's Python is executed, its commands parse, its test command is CI's."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from slimprune import cli, comparison, pipeline
from slimprune.cli import running
from slimprune.cli.commands import inspect

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("slimprune ")]


def test_the_python_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = torch.random.get_rng_state()
    scope = {}
    try:
        for block in blocks("python"):
            exec(block, scope)
    finally:
        torch.random.set_rng_state(state)
    assert {path.name for path in tmp_path.iterdir()} == {
        "net.onnx", "net.slim", "net.report.html", "net.report.json", "net.report.md", "step.onnx", "net.svg",
    }  # fmt: skip
    assert (tmp_path / "net.svg").read_text() == (ROOT / "docs" / "net.svg").read_text()
    assert scope["check"].top1_agreement == 1.0
    assert 0.48 <= scope["report"].to_json()["params"]["removed"] <= 0.53
    assert "dense" in capsys.readouterr().out


@pytest.mark.parametrize("command", commands())
def test_the_commands_are_understood(command, monkeypatch):
    """Every command of the README is parsed by the real parser; the work behind it is tested elsewhere."""
    called = []
    for name in ("compress", "plan", "export", "verify", "inspect_named", "bench"):
        monkeypatch.setattr(pipeline, name, lambda *args, _name=name, **options: called.append(_name.split("_")[0]))
    monkeypatch.setattr(comparison, "compare", lambda *args, **options: called.append("compare"))
    for place, shown in ((running, "show"), (running, "show_report"), (running, "show_check"), (inspect, "_show")):
        monkeypatch.setattr(place, shown, lambda *_: None)
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(command)[1:]
    assert cli.run(arguments) == 0
    expected = {"run": "compress", "list": None}.get(arguments[0], arguments[0])
    assert called == ([expected] if expected else [])


def test_ci_runs_the_test_command_of_the_readme():
    install, check = blocks("sh")[-1].strip().splitlines()
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-1] == check
    assert script[-2].endswith(install.removeprefix("pip install"))
