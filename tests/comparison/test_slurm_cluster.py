"""Cells as jobs of Slurm, by submitit's executor that runs them on this machine."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import slimprune
from slimprune.comparison import OnCluster
from slimprune.errors import SlimpruneError
from tests.commands import Run, error_line, listing
from tests.comparison.test_compare import timeless

submitit = pytest.importorskip("submitit", reason="needs submitit")
SLURM = "slimprune.comparison.slurm_cluster"


@pytest.fixture
def grid(arch: str, data: str) -> dict[str, Any]:
    """One cell."""
    base = {"arch": arch, "data": data, "epochs": 1, "draws": 1, "batch_size": 8, "score_batch": 8, "device": "cpu"}
    switches = {"twins": False, "dense": False, "uniform": False}
    return {"base": base, "budgets": ["params=0.5"], "seeds": [0], "criteria": ["magnitude"], **switches}


def test_jobs_give_what_one_process_gives(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SLURM}.EXECUTOR", "local")
    document = slimprune.compare(grid, out=tmp_path / "slurm", on=OnCluster("slurm"))
    assert timeless(document) == timeless(slimprune.compare(grid, out=tmp_path / "alone"))
    assert listing(tmp_path / "slurm") == listing(tmp_path / "alone")


@pytest.mark.slow
def test_a_job_that_dies_is_submitted_again(
    grid: dict[str, Any], arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once is no matter, always is."""
    monkeypatch.setattr(f"{SLURM}.EXECUTOR", "local")
    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 1)
    code = tmp_path / "net.py"
    own = Path(arch.removesuffix(":net")).read_text()
    dying = "import os, pathlib\nfirst = pathlib.Path(__file__).with_name('first')\n"
    dying += "if not first.exists():\n    first.touch()\n    os.kill(os.getpid(), 9)\n"
    given = {**grid, "base": {**grid["base"], "arch": f"{code}:net"}}
    code.write_text(dying + own)
    assert slimprune.compare(given, out=tmp_path / "once", on=OnCluster("slurm"))["tables"][0]["winner"] == "magnitude"
    code.write_text(dying.replace("first.touch()", "pass") + own)
    (tmp_path / "first").unlink()
    with pytest.raises(SlimpruneError, match=r"magnitude, params=0.5, seed 0: expected a job that finishes, got 4"):
        slimprune.compare(given, out=tmp_path / "always", on=OnCluster("slurm"))


def test_what_slurm_refuses(
    grid: dict[str, Any], folder: Path, slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of `sbatch`, here a stand-in that looks for the partition and the time limit in what it gets."""
    asked = """sed -n 's/^#SBATCH --\\(partition\\|time\\)=//p' "$1" | tr '\\n' ' '"""
    for name, script in (("srun", ""), ("sbatch", f'echo "sbatch: error: cannot grant $({asked})" >&2; exit 1\n')):
        Path(name).write_text(f"#!/bin/sh\n{script}")
        Path(name).chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    Path("grid.yaml").write_text(json.dumps(grid))
    options = ("--slurm-partition", "fast", "--minutes-per-cell", 7)
    result = slimprune("compare", "grid.yaml", "--trust-code", "--on", "slurm", *options)
    assert result[0] == 2
    assert error_line(result) == "error: cannot submit to Slurm: sbatch: error: cannot grant fast 7"
    assert listing(folder) == ["grid.yaml", "sbatch", "srun"]
