"""The command line in several processes, as a launcher starts them: one plan, one set of files, one line of error."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from slimprune.errors import UsageError
from slimprune.pipeline import processes
from slimprune.ranks.group import Ranks
from slimprune.recipe import make_recipe
from tests.conftest import Run

pytestmark = pytest.mark.xdist_group("ranks")

RUN = ["compress", "--data", "digits", "--ratio", "0.5", "--criterion", "prospr", "--draws", "2", "--epochs", "1"]
LONGEST = 240


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return str(found.getsockname()[1])


def launched(*commands: Sequence[str], folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run one command per process, as a launcher does, and return how each ended."""
    common = {**os.environ, "MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "WORLD_SIZE": str(len(commands))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "slimprune", *command],
            cwd=folder,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": os.getcwd()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]
    ended = [(process, process.communicate(timeout=LONGEST)) for process in processes]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
        for process, (stdout, stderr) in ended
    ]


def test_two_processes_share_a_run(tmp_path: Path) -> None:
    command = [*RUN, "--arch", "resnet8", "--batch-size", "64", "--sync-bn", "--json", "--out"]
    first, second = launched([*command, "a.onnx"], [*command, "a.onnx"], folder=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert second.stdout == second.stderr == ""
    assert json.loads(first.stdout)["environment"]["processes"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.onnx", "a.slim", "a.report.json", "a.report.md", "a.report.html",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "of_second", "line"),
    [
        (["--batch-size", "65"], [], "a batch size that 2 processes divide equally, got 65 images"),
        ([], ["--ratio", "0.6"], "the same ratio in every process, got 0.6 beside 0.5"),
    ],
)
def test_errors_are_one_line_of_one_process(
    options: list[str], of_second: list[str], line: str, tmp_path: Path
) -> None:
    command = [*RUN, "--arch", "resnet8", "--out", "a.onnx", *options]
    ended = launched(command, [*command, *of_second], folder=tmp_path)
    said = [process.stderr for process in ended if "error:" in process.stderr]
    assert len(said) == 1
    assert line in said[0]
    assert UsageError.exit_code in {process.returncode for process in ended}
    assert all(process.returncode > 0 for process in ended)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"of": "latency"}, "one process to measure latencies, got 2"),
        ({"round_to": "auto"}, "one process to measure latencies, got 2"),
        (
            {"split_draws": True, "criterion": "prospr", "score_batch": 33},
            "equally beside --split-draws, got 33",
        ),
        ({"split_draws": True, "criterion": "magnitude"}, "a criterion of derivatives of the mean loss"),
        ({"split_draws": True, "unit": "weights"}, "scores of channels beside --split-draws, got --unit weights"),
    ],
)
def test_what_processes_cannot_share_is_refused(
    settings: dict[str, object], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "joined", lambda: Ranks(0, 2))
    monkeypatch.setattr(processes, "check_equal", lambda values: None)
    recipe = make_recipe({"arch": "resnet8", "data": "digits", "ratio": 0.5, **settings}).with_defaults()
    with pytest.raises(UsageError, match=re.escape(line)):
        processes.check_processes(recipe)


@pytest.mark.parametrize(("rank", "said"), [("0", "expected compress, run, plan in 2 processes, got list"), ("1", "")])
def test_other_commands_are_refused_by_one_process(
    rank: str, said: str, monkeypatch: pytest.MonkeyPatch, slimprune: Callable[..., Run]
) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    code, stdout, stderr = slimprune("list", "rules")
    assert (code, stdout) == (UsageError.exit_code, "")
    assert said in stderr if said else stderr == ""


@pytest.mark.parametrize("option", ["--sync-bn", "--bf16-gradients", "--split-draws"])
def test_options_of_several_processes_are_refused_alone(
    option: str, tmp_path: Path, slimprune: Callable[..., Run]
) -> None:
    code, _, stderr = slimprune(*RUN, "--arch", "resnet8", "--out", tmp_path / "a.onnx", option)
    assert code == UsageError.exit_code
    assert f"expected several processes, as torchrun starts them, beside {option}, got one" in stderr
