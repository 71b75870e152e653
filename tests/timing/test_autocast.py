import json
from pathlib import Path

import pytest
import torch

from slimprune.timing import AutocastTimes, autocast, autocast_times

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLIMPRUNE_CACHE", str(tmp_path))
    return tmp_path / "latency"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of every measurement, which finds 4 and 1 seconds."""
    found: list[int] = []

    def measure(place):
        found.append(place.threads)
        return AutocastTimes(4.0, 1.0)

    monkeypatch.setattr(autocast, "_measured", measure)
    return found


@pytest.mark.parametrize(
    ("lowered", "pays", "said"),
    [(0.5, True, "on: in bfloat16 a training step of convolutions is 2.0 times faster"),
     (0.95, False, "off: in bfloat16 a training step of convolutions is 1.1 times faster"),
     (3.0, False, "off: in bfloat16 a training step of convolutions is 3.0 times slower")],
)  # fmt: skip
def test_autocast_is_used_where_it_is_clearly_faster(lowered: float, pays: bool, said: str):
    times = AutocastTimes(1.0, lowered)
    assert times.pays is pays
    assert str(times) == f"amp auto is {said} here"


def test_a_machine_is_measured_once_for_each_number_of_threads(cache: Path, measured: list[int]):
    threads = torch.get_num_threads()
    try:
        for count in (1, 1, 2):
            torch.set_num_threads(count)
            assert autocast_times(CPU) == AutocastTimes(4.0, 1.0)
    finally:
        torch.set_num_threads(threads)
    assert measured == [1, 2]
    (first, _) = sorted(
        cache.glob("autocast-*.json"), key=lambda file: json.loads(file.read_text())["deployment"]["threads"]
    )
    assert json.loads(first.read_text())["deployment"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "text", ["", "[]", '{"seconds": {"float32": -1, "bfloat16": 1}}', '{"seconds": {"float32": 1}}']
)
def test_a_damaged_file_is_measured_again(cache: Path, measured: list[int], text: str):
    autocast_times(CPU)
    (file,) = cache.iterdir()
    whole = file.read_text()
    file.write_text(text)
    assert autocast_times(CPU) == AutocastTimes(4.0, 1.0)
    assert len(measured) == 2
    assert file.read_text() == whole


def test_a_training_step_is_timed_both_ways(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(autocast, "CHANNELS", (3, 4))
    monkeypatch.setattr(autocast, "SIDE", 8)
    state, seen = torch.get_rng_state(), []
    interleaved = autocast.interleaved_times

    def watched(calls, **options):
        seen.extend(call().dtype for call in calls)
        return interleaved(calls, **options)

    monkeypatch.setattr(autocast, "interleaved_times", watched)
    times = autocast_times(CPU)
    assert min(times.float32, times.bfloat16) > 0
    assert len(seen) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_the_step_computes_gradients_in_both_precisions():
    step = autocast._training_step(CPU)
    plain, lowered = step(False).item(), step(True).item()
    assert lowered == pytest.approx(plain, rel=0.05)
    assert lowered != plain
