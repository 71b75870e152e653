"""Cells on a cluster, with one that runs its tasks in this process: which tasks it gets, and what is refused."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import slimprune
from slimprune.comparison import OnCluster
from slimprune.comparison.clusters import Ended
from slimprune.comparison.remote_cells import CellTask, run_task
from slimprune.errors import DataError, UsageError
from tests.commands import Run, error_line, listing
from tests.comparison.test_compare import Event, timeless


class Here:
    """A cluster of this process alone, which ends its tasks from last to first."""

    def __init__(self, change: Callable[[CellTask], CellTask]) -> None:
        self.change, self.seen, self.left = change, list[list[CellTask]](), False

    def ended(self, tasks: Sequence[CellTask]) -> Ended:
        self.seen.append(list(tasks))
        for number in reversed(range(len(tasks))):
            yield number, run_task(self.change(tasks[number]))

    def close(self) -> None:
        self.left = True


@pytest.fixture
def grid(arch: str, data: str) -> dict[str, Any]:
    """Three rows, one of which starts from a trained network, with two budgets."""
    base = {"arch": arch, "data": data, "epochs": 1, "draws": 1, "batch_size": 8, "score_batch": 8, "device": "cpu"}
    rows = {"late": {"criterion": "magnitude", "when": "after-training"}}
    budgets = ["params=0.5", "params=0.999"]
    return {"base": base, "budgets": budgets, "seeds": [0], "criteria": ["magnitude"], "rows": rows, "twins": False}


def elsewhere(monkeypatch: pytest.MonkeyPatch, change: Callable[[CellTask], CellTask] = lambda task: task) -> Here:
    cluster = Here(change)
    running = sys.modules["slimprune.comparison.compare"]
    monkeypatch.setattr(running, "find_cluster", lambda on, unfinished: cluster)
    return cluster


def test_a_cluster_gets_what_is_missing_and_gives_what_one_process_gives(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, heard = elsewhere(monkeypatch), list[Event]()
    alone = slimprune.compare(grid, out=tmp_path / "alone")
    listener = lambda *event: heard.append(event)  # noqa: E731
    document = slimprune.compare(grid, out=tmp_path / "out", on=OnCluster("ray"), listener=listener)
    assert timeless(document) == timeless(alone)
    # The dense network that two cells and the dense one start from, then all cells that wait for no winner.
    titles = [[task.title for task in tasks] for tasks in cluster.seen]
    rows = [f"{row}, {budget}, seed 0" for budget in grid["budgets"] for row in ("magnitude", "late")]
    assert titles[:2] == [["late, params=0.999, seed 0"], ["dense, seed 0", *rows]]
    assert [len(tasks) for tasks in titles[2:]] == [2]
    assert [task.dense_only for tasks in cluster.seen for task in tasks] == [True] + [False] * 7
    done = [done for _, done, _, _ in heard]
    assert (done, heard[-1][1:3]) == (sorted(done), (7, 7))
    assert cluster.left
    cluster.seen.clear()
    assert slimprune.compare(grid, out=tmp_path / "out", on=OnCluster("ray")) == document
    assert cluster.seen == []
    assert listing(tmp_path / "alone") == listing(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "kind", "line"),
    [
        (
            lambda task: replace(task, unfinished="/not/shared"),
            DataError, "expected /not/shared on a disk that all machines share, got none on ",
        ),
        (
            lambda task: replace(task, named_files="0"),
            DataError, "expected the same code, weights and data on all machines, got others on ",
        ),
        (
            lambda task: replace(task, versions={**task.versions, "torch": "1.0"}),
            UsageError, "expected torch 1.0 on all machines, got 2",
        ),
    ],
)  # fmt: skip
def test_errors_of_workers_end_the_run(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, kind: Any, line: str
) -> None:
    cluster = elsewhere(monkeypatch, change)
    with pytest.raises(kind, match=line):
        slimprune.compare(grid, out=tmp_path / "out", on=OnCluster("ray"))
    assert cluster.left
    assert listing(tmp_path) == []


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "line"),
    [
        (OnCluster("kube"), "expected --on as ray, ray:HOST:PORT or slurm, got 'kube'"),
        (OnCluster("ray:"), "expected --on as ray, ray:HOST:PORT or slurm, got 'ray:'"),
        (OnCluster("ray:ray://head:10001"), "expected --on as ray, ray:HOST:PORT or slurm, got 'ray:ray://head:10001'"),
        (OnCluster("slurm:head:1"), "expected --on as ray, ray:HOST:PORT or slurm, got 'slurm:head:1'"),
        (OnCluster("ray", cpus=0), "expected more than 0 CPUs per cell, got 0"),
        (OnCluster("ray", gpus=-1), "expected 0 or more GPUs per cell, got -1"),
        (OnCluster("ray", gpus=float("nan")), "expected 0 or more GPUs per cell, got nan"),
        (OnCluster("ray", gpus=1.5), "expected a whole number or a part of one of GPUs per cell on ray, got 1.5"),
        (OnCluster("slurm", gpus=0.25), "expected a whole number of GPUs per cell on slurm, got 0.25"),
        (OnCluster("slurm", cpus=0.5), "expected a whole number of CPUs per cell on slurm, got 0.5"),
        (OnCluster("slurm", minutes=0), "expected 1 to 525600 minutes per cell, got 0"),
        (OnCluster("ray", minutes=9), "expected a time limit and a partition for slurm alone, got them for ray"),
    ],
)
def test_what_no_cluster_can_do(grid: dict[str, Any], tmp_path: Path, on: OnCluster, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        slimprune.compare(grid, out=tmp_path / "out", on=on)
    assert str(caught.value) == line
    assert listing(tmp_path) == []


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, package: str
) -> None:
    monkeypatch.setattr("slimprune.comparison.clusters.find_spec", lambda name: None)
    line = rf"expected the package {package} for --on {engine} \(pip install 'slimprune\[{engine}\]'\), got none"
    with pytest.raises(UsageError, match=line):
        slimprune.compare(grid, out=tmp_path / "out", on=OnCluster(engine))


def test_a_precision_that_would_be_measured_here(grid: dict[str, Any], tmp_path: Path) -> None:
    given = {**grid, "base": {**grid["base"], "amp": "auto"}}
    with pytest.raises(UsageError, match="expected amp as true or false on a cluster"):
        slimprune.compare(given, out=tmp_path / "out", on=OnCluster("ray"))


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--on", "ray", "--jobs", "1"], "error: expected --jobs or --on, got --jobs 1 and --on ray"),
        (["--cpus-per-cell", "2"], "error: expected --on beside --cpus-per-cell, got none"),
        (
            ["--gpus-per-cell", "1", "--slurm-partition", "fast"],
            "error: expected --on beside --gpus-per-cell and --slurm-partition, got none",
        ),
    ],
)
def test_options_that_contradict_each_other(
    grid: dict[str, Any], folder: Path, slimprune: Callable[..., Run], flags: list[str], line: str
) -> None:
    Path("grid.yaml").write_text(json.dumps(grid))
    result = slimprune("compare", "grid.yaml", "--trust-code", *flags)
    assert (result[0], error_line(result)) == (2, line)
    assert listing(folder) == ["grid.yaml"]
