"""How networks are run: what is chosen and refused, and times of layers that are kept between runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from slimprune.errors import UsageError
from slimprune.graph import find_groups, keep_channels
from slimprune.measure import usable_cores, versions
from slimprune.timing import Layer, Sampling
from slimprune.timing import runtime as module
from slimprune.timing.runtime import NetworkTimer, Runtime, keep_times, known_times
from slimprune.timing.sampling import PairedTimes
from slimprune.types import ignore
from tests.networks import EXAMPLE, Residual, halves, toy


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("SLIMPRUNE_CACHE", str(tmp_path))
    return tmp_path / "latency"


ON_CPU = {"device": "cpu", "threads": 1}


def test_defaults_follow_the_device() -> None:
    chosen = Runtime.of(device="cpu")
    assert (chosen.engine.name, chosen.place.device.type, chosen.batch) == ("onnxruntime", "cpu", 8)
    assert chosen.place.threads == usable_cores()
    timing = Runtime.of("torch-cpu", 3, **ON_CPU).timing()
    assert (timing.engine, timing.batch, timing.threads) == ("torch", 3, 1)
    assert timing.version == f"torch {versions()['torch']}"
    assert timing.device.startswith("cpu (")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, r"expected an engine \(torch, .*\), got 'tensorrt'"),
        ({"engine": "torch-captured"}, "engine torch-captured needs a CUDA device, got cpu"),
        ({"engine": "train", "batch": 1}, "expected a batch of at least 2 for engine train, got 1"),
        ({"batch": 0}, "expected a batch of at least 1 for engine onnxruntime, got 0"),
        ({"threads": 0}, "expected threads of at least 1, got 0"),
    ],
)
def test_what_cannot_be_run_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Runtime.of(**{**ON_CPU, **options})


# Times that are kept -------------------------------------------------------------------------------------------------

LAYERS = [Layer("linear", rows, 4, ()) for rows in (4, 8)]


def measured(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> list[int]:
    """Asks for the times of two layers; returns how many were measured for it at once."""
    counts = []

    def timed(calls: list[Any], **options: Any) -> list[float]:
        counts.append(len(calls))
        return [1e-3 * (number + 1) for number in range(len(calls))]

    monkeypatch.setattr("slimprune.timing.layer_times.interleaved_times", timed)
    assert runtime.layer_clock(ignore)(LAYERS) == [1e-3, 2e-3]
    return counts


def test_layers_are_measured_once_on_a_machine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, Runtime.of(batch=2, **ON_CPU)) == [2]
    assert measured(monkeypatch, Runtime.of(batch=2, **ON_CPU)) == []
    (file,) = cache.iterdir()
    plain = json.loads(file.read_text())
    assert plain["seconds"] == {LAYERS[0].description: 1e-3, LAYERS[1].description: 2e-3}
    assert plain["deployment"]["batch"] == 2
    assert {"engine", "version", "device", "threads"} <= plain["deployment"].keys()


@pytest.mark.parametrize("other", [{"batch": 3}, {"threads": 2}, {"engine": "torch"}])
def test_another_runtime_is_measured_by_itself(
    cache: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    measured(monkeypatch, Runtime.of(**{"batch": 2, **ON_CPU}))
    assert measured(monkeypatch, Runtime.of(**{"batch": 2, **ON_CPU, **other})) == [2]
    assert len(list(cache.iterdir())) == 2


def test_another_version_is_measured_by_itself(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, Runtime.of(**ON_CPU))
    monkeypatch.setattr(module, "engine_version", lambda engine: "onnxruntime 99")
    assert measured(monkeypatch, Runtime.of(**ON_CPU)) == [2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace("0.001", "-1"),
        lambda text: text.replace("0.001", '"long"'),
        lambda text: text.replace("onnxruntime", "tensorrt"),
    ],
    ids=["empty", "cut", "a list", "negative", "no number", "another engine"],
)
def test_damaged_times_are_measured_again(cache: Path, monkeypatch: pytest.MonkeyPatch, damage: Any) -> None:
    runtime = Runtime.of(**ON_CPU)
    measured(monkeypatch, runtime)
    (file,) = cache.iterdir()
    whole = file.read_text()
    file.write_text(damage(whole))
    assert known_times(file, runtime) == {}
    assert measured(monkeypatch, runtime) == [2]
    assert file.read_text() == whole


def test_what_another_process_measured_meanwhile_stays(cache: Path) -> None:
    runtime, file = Runtime.of(**ON_CPU), cache / "times.json"
    keep_times(file, runtime, {"a": 1.0})
    keep_times(file, runtime, {"b": 2.0})
    assert known_times(file, runtime) == {"a": 1.0, "b": 2.0}


def test_a_folder_that_cannot_be_written_to_is_no_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file where the folder should be")
    assert measured(monkeypatch, Runtime.of(**ON_CPU)) == [2]
    assert measured(monkeypatch, Runtime.of(**ON_CPU)) == [2]


# Whole networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_slim_network_is_timed_beside_the_dense_one(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(module, "SAMPLING", Sampling(8, 0.01))
    dense = toy(Residual)
    groups = find_groups(dense, EXAMPLE)
    slim = keep_channels(dense, groups, halves(groups))
    timer = NetworkTimer(Runtime.of(engine, 2, **ON_CPU), dense, EXAMPLE)
    for _ in range(2):
        row = timer.row(slim)
        assert (row["engine"], row["batch"], row["threads"], row["pairs"]) == (engine, 2, 1, 8)
        assert row["macs"]["dense"] > row["macs"]["slim"] > 0
        low, high = row["interval"]
        assert 0 < low <= row["speedup"] <= high
        assert row["dense_ms"] > 0 < row["slim_ms"]


@pytest.mark.parametrize(
    ("known", "dense", "taken"),
    [
        ((), [1.3, 1.0, 1.0], [0, 1, 2]),
        ((), [1.0, 1.3, 1.05, 1.2, 1.09], [0, 2, 4]),
        ((1.0,), [1.3, 1.2, 1.4, 1.3, 1.0], [1, 4]),
    ],
    ids=["at once", "once more", "the fastest of four"],
)
def test_networks_are_timed_while_the_dense_one_is_not_slow(
    monkeypatch: pytest.MonkeyPatch, known: tuple[float, ...], dense: list[float], taken: list[int]
) -> None:
    """The dense network takes so many seconds in each measurement, the slim one half a second more with each."""
    measurements = iter([PairedTimes([seconds] * 8, [1 + number / 2] * 8, 0.0) for number, seconds in enumerate(dense)])
    monkeypatch.setattr(module, "paired_times", lambda *_, **__: next(measurements))
    network = toy(Residual)
    timer = NetworkTimer(Runtime.of("torch", 2, **ON_CPU), network, EXAMPLE, known)
    rows = [timer.row(network) for _ in taken]
    assert [row["dense_ms"] for row in rows] == pytest.approx([1e3 * dense[number] for number in taken])
    assert [row["slim_ms"] for row in rows] == pytest.approx([1e3 * (1 + number / 2) for number in taken])
    assert next(measurements, None) is None
