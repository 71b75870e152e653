"""Cells as tasks of Ray, started once on this machine with two CPUs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import slimprune
from slimprune.comparison import OnCluster
from slimprune.errors import SlimpruneError, UsageError
from tests.commands import Run, error_line, listing
from tests.comparison.test_compare import timeless

ray = pytest.importorskip("ray", reason="needs Ray")

FRAGILE = """
import os, signal
from pathlib import Path
from torch import nn


def net(num_classes, in_channels):
    for number in range({deaths}):  # each of these deaths is died once
        try:
            (Path(__file__).parent / f"death-{{number}}").touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
GRID = {
    "base": {"arch": "net.py:net", "data": "digits", "train_size": 400, "batch_size": 32, "epochs": 4, "draws": 1},
    "budgets": ["macs=0.5"],
    "seeds": [0, 1],
    "criteria": ["3sp", "magnitude"],
    "rows": {"late": {"criterion": "magnitude", "when": "after-training"}},
    "twins": False,
}
"""Of each seed the dense network, three rows, and two uniform networks: 12 cells."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster that this process is connected to."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def grid_file(folder: Path) -> Callable[[int], Path]:
    """Write a grid whose architecture kills its first processes; return its file."""

    def write(deaths: int, **changes: Any) -> Path:
        Path("net.py").write_text(FRAGILE.format(deaths=deaths))
        Path("grid.yaml").write_text(json.dumps({**GRID, **changes}))
        return Path("grid.yaml")

    return write


def test_two_cells_give_what_one_process_gives(address: str, grid_file: Callable[..., Path], folder: Path) -> None:
    """The table is that of one process; an address of the cluster is not needed where Ray is connected."""
    small = {"base": {**GRID["base"], "epochs": 1}, "seeds": [0], "rows": {}, "dense": False, "uniform": False}
    file = grid_file(0, **small)
    document = slimprune.compare(file, out=folder / "ray", on=OnCluster("ray"), trust_code=True)
    assert timeless(document) == timeless(slimprune.compare(file, out=folder / "alone", trust_code=True))
    assert ray.is_initialized()
    with pytest.raises(UsageError, match="expected a machine of 1 CPUs and 2 GPUs in the Ray cluster, got 2 and 0"):
        slimprune.compare(file, out=folder / "new", on=OnCluster("ray", gpus=2), trust_code=True)
    assert not Path("new").exists()


@pytest.fixture
def other_service() -> Iterator[str]:
    """The address of something that is not Ray."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_address_without_ray(
    other_service: str, grid_file: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch,
    slimprune: Callable[..., Run],
) -> None:  # fmt: skip
    monkeypatch.setattr("slimprune.comparison.ray_cluster.ANSWERING", 1)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    grid_file(0)
    for address, line in (("127.0.0.1:1", "[Errno 111] Connection refused"), (other_service, "no Ray answers there")):
        result = slimprune("compare", "grid.yaml", "--trust-code", "--on", f"ray:{address}")
        assert (result[0], error_line(result)) == (2, f"error: cannot reach Ray at {address}: {line}")
    assert listing(folder) == ["grid.yaml", "net.py"]


# Workers and drivers that die ----------------------------------------------------------------------------------------


def driver(address: str) -> "subprocess.Popen[str]":
    """Start the command; a shell that runs the tests in its background lets them ignore SIGINT, but not the command."""
    command = [sys.executable, "-m", "slimprune", "compare", "grid.yaml", "--out", "ray", "--trust-code", "--quiet"]
    return subprocess.Popen(
        [*command, "--on", f"ray:{address}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_cells(count: int, process: "subprocess.Popen[str]") -> None:
    while len(list(Path("ray/cells").glob("*.json"))) < count:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)


def workers() -> list[str]:
    """The titles of workers that run a cell, as Ray names their processes."""
    titles = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with_zeros = file.read_bytes() if file.exists() else b""
        if with_zeros.startswith(b"ray::") and b", seed " in with_zeros:
            titles.append(with_zeros.decode())
    return titles


@pytest.mark.slow
def test_workers_and_the_driver_are_killed(address: str, grid_file: Callable[..., Path], folder: Path) -> None:
    file = grid_file(2)
    with driver(address) as killed:
        wait_for_cells(3, killed)
        killed.kill()
    assert {path.name for path in folder.glob("death-*")} == {"death-0", "death-1"}
    finished = {path: path.stat().st_mtime_ns for path in Path("ray/cells").iterdir()}
    assert 3 <= len(finished) < 12
    assert not Path("ray/compare.json").exists()
    with driver(address) as again:
        assert (again.wait(), again.stderr and again.stderr.read()) == (0, "")
    assert finished.items() <= {path: path.stat().st_mtime_ns for path in Path("ray/cells").iterdir()}.items()
    document = json.loads(Path("ray/compare.json").read_text())
    assert len(document["cells"]) == 12
    assert timeless(document) == timeless(slimprune.compare(file, out=folder / "alone", trust_code=True))
    assert listing(Path("alone")) == listing(Path("ray"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_stopped_ends_its_tasks(
    address: str, grid_file: Callable[..., Path], number: signal.Signals, code: int
) -> None:
    grid_file(0)
    with driver(address) as stopped:
        wait_for_cells(1, stopped)
        began = time.monotonic()
        stopped.send_signal(number)
        _, told = stopped.communicate()
    assert (stopped.returncode, told) == (
        code, "error: interrupted; the same command goes on from what is finished in ray\n"
    )  # fmt: skip
    while workers():
        assert time.monotonic() - began < 20, workers()
        time.sleep(0.1)


@pytest.mark.slow
def test_a_cell_whose_workers_die_again_and_again(address: str, grid_file: Callable[..., Path], folder: Path) -> None:
    file = grid_file(100, criteria=["3sp"], seeds=[0], rows={}, dense=False)
    with pytest.raises(
        SlimpruneError, match=r"3sp, macs=0.5, seed 0: expected a worker that finishes, got 4 that died"
    ):
        slimprune.compare(file, out=folder / "ray", on=OnCluster("ray"), trust_code=True)
    assert len(list(folder.glob("death-*"))) == 4
