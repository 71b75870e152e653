"""A run in two processes under torchrun that is killed again and again ends like one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

pytestmark = [pytest.mark.xdist_group("ranks"), pytest.mark.slow]

KILLS = 10
RUN = [
    *["compress", "--arch", "resnet8", "--data", "digits", "--ratio", "0.5", "--criterion", "prospr", "--draws", "4"],
    *["--steps", "3", "--epochs", "12", "--batch-size", "64", "--sync-bn", "--out", "a.onnx"],
]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start the run in two processes, in a session of its own."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launch, *options, "-m", "slimprune", *RUN],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def weights(folder: Path) -> dict[str, Tensor]:
    (file,) = (folder / "a.slim").glob("*.safetensors")
    return load_file(file)


def workers(launcher: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(launcher)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def runs(process: int) -> bool:
    """Return whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end_of_all(launcher: subprocess.Popen[str], ranks: list[int]) -> float:
    """Return the seconds until the launcher and its ranks have ended."""
    began = time.monotonic()
    while launcher.poll() is None or any(map(runs, ranks)):
        assert time.monotonic() - began < 60
        time.sleep(0.2)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], float]:
    folder, began = tmp_path_factory.mktemp("whole"), time.monotonic()
    process = start(folder)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return weights(folder), time.monotonic() - began


@pytest.mark.parametrize("victim", ["rank", "launcher", "preempted"])
def test_killed_at_random_moments(victim: str, uninterrupted: tuple[dict[str, Tensor], float], tmp_path: Path) -> None:
    expected, seconds = uninterrupted
    moments, killed, slowest, within, runs_to_the_end = random.Random(victim), 0, 0.0, 0, 0
    while killed < KILLS:
        folder = tmp_path / str(runs_to_the_end)
        folder.mkdir(exist_ok=True)
        process = start(folder)
        try:
            process.wait(moments.uniform(0.1, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            ranks = workers(process.pid)
            if victim == "rank" and ranks:
                os.kill(moments.choice(ranks), signal.SIGKILL)
            elif victim == "launcher":
                process.kill()
            else:
                process.send_signal(signal.SIGTERM)
            killed += 1
            slowest = max(slowest, end_of_all(process, ranks))
            process.communicate()
            within += bool(list(folder.rglob("checkpoint-*-*.safetensors")))
        else:
            check_end(process, folder, expected)
            runs_to_the_end += 1
    folder = tmp_path / str(runs_to_the_end)
    folder.mkdir(exist_ok=True)
    check_end(start(folder), folder, expected)
    sys.stdout.write(
        f"{victim}: {killed} kills in {runs_to_the_end + 1} runs, {within} stopped within an epoch, "
        f"all processes gone after at most {slowest:.1f} s\n"
    )
    # Ranks that outlive their launcher send themselves SIGTERM; the neighbour of one that was killed does not.
    assert not within if victim == "rank" else within
    assert slowest < 20


def check_end(process: subprocess.Popen[str], folder: Path, expected: dict[str, Tensor]) -> None:
    """Check that the process ends well, with these weights, and leaves nothing beside its files."""
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    found = weights(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert not list(folder.glob(".*slimprune*"))


def test_the_launcher_starts_the_ranks_anew(uninterrupted: tuple[dict[str, Tensor], float], tmp_path: Path) -> None:
    process, began = start(tmp_path, "--max-restarts", "2"), time.monotonic()
    while not list(tmp_path.glob(".*/train/checkpoint.json")):
        assert time.monotonic() - began < 120
        time.sleep(0.2)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    found = weights(tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in uninterrupted[0].items())
