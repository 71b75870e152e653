import copy

import pytest
import torch
from torch import nn

from slimprune import BenchSettings, Sampling, compare_speed
from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.timing import sampling

SHORT = Sampling(8, 0.01)


def network(width):
    layers = (nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


@pytest.fixture(scope="module", autouse=True)
def short_warm_up():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "WARM_UP_SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def compared(short_warm_up):
    """96 channels against 8, by every engine; what the listener heard, and whether the networks stayed as they were."""
    networks, events = (network(96), network(8)), []
    before = copy.deepcopy([one.state_dict() for one in networks])
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2)
    settings = BenchSettings(batches=(1, 8), threads=1, device="cpu", sampling=SHORT)
    rows = compare_speed(*networks, (3, 12, 12), settings, listener=lambda *event: events.append(event))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert torch.equal(state, torch.random.get_rng_state())
    for one, former in zip(networks, before, strict=True):
        assert all(torch.equal(former[name], value) for name, value in one.state_dict().items())
    return rows, events


def test_every_engine_with_every_batch_that_it_takes(compared):
    rows, _ = compared
    assert [(row["engine"], row["batch"]) for row in rows] == [
        ("torch", 1), ("torch", 8), ("torch-nhwc", 1), ("torch-nhwc", 8),
        ("onnxruntime", 1), ("onnxruntime", 8), ("train", 8), ("train-fast", 8),
    ]  # fmt: skip


def test_a_row_says_what_was_found_and_where(compared):
    for row in compared[0]:
        assert row.keys() == {
            "engine", "device", "batch", "threads", "version", "dense_ms", "slim_ms", "speedup", "iqr", "interval",
            "confidence", "pairs", "verdict", "disturbed", "macs", "realised_share",
            "peak_bytes", "kernels",
        }  # fmt: skip
        assert row["interval"][0] <= row["speedup"] <= row["interval"][1]
        assert row["iqr"]["dense"][0] <= row["dense_ms"] <= row["iqr"]["dense"][1]
        assert row["pairs"] == 8
        assert row["threads"] == 1
        assert row["version"].startswith("onnxruntime" if row["engine"] == "onnxruntime" else "torch")


def test_the_realised_share_is_the_speedup_over_the_mac_reduction(compared):
    """Convolution 12 * 12 * 27 MACs per channel and linear layer 4: both in proportion to the width."""
    for row in compared[0]:
        assert row["macs"] == {"dense": 96 * (144 * 27 + 4), "slim": 8 * (144 * 27 + 4), "reduction": 12.0}
        assert row["realised_share"] == pytest.approx(row["speedup"] / 12)


def test_the_listener_hears_every_comparison(compared):
    rows, events = compared
    ends = [event for event in events if event[1] == event[2]]
    assert [stage for stage, *_ in ends] == [f"{row['engine']} {row['batch']}" for row in rows]
    assert [note for *_, note in ends] == [f"{row['verdict']} (8 pairs)" for row in rows]


class Viewing(nn.Module):
    """Channels-last memory cannot be viewed as rows."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 2)

    def forward(self, images):
        return self.head(self.conv(images).view(images.size(0), -1))


def test_engines_that_were_not_asked_for_are_left_out_where_they_cannot_run():
    events, networks = [], (Viewing(), Viewing())
    settings = BenchSettings((), (4,), 1, "cpu", SHORT)
    rows = compare_speed(*networks, (3, 8, 8), settings, listener=lambda *event: events.append(event))
    assert [row["engine"] for row in rows] == ["torch", "onnxruntime", "train"]
    left_out = {stage: note for stage, _, _, note in events if note.startswith("left out: ")}
    assert left_out.keys() == {"torch-nhwc 4", "train-fast 4"}
    assert "view size is not compatible" in left_out["torch-nhwc 4"]
    with pytest.raises(UnsupportedModelError, match="engine torch-nhwc can run"):
        compare_speed(*networks, (3, 8, 8), BenchSettings(("torch-nhwc",), (4,), 1, "cpu", SHORT))


def test_an_onnx_engine_is_left_out_where_there_can_be_no_file():
    class Sized(Viewing):
        def forward(self, images):
            return self.head(self.conv(images).flatten(1)) * len(images)

    settings = BenchSettings((), (4,), 1, "cpu", SHORT)
    rows = compare_speed(Sized(), Sized(), (3, 8, 8), settings)
    assert [row["engine"] for row in rows] == ["torch", "torch-nhwc", "train", "train-fast"]


def test_two_networks_of_one_kind_report_the_slower_one():
    """Twelve times the arithmetic: seen even by a few samples."""
    settings = BenchSettings(("torch",), (32,), 1, "cpu", Sampling(20, 5.0))
    (row,) = compare_speed(network(8), network(256), (3, 16, 16), settings)
    assert row["verdict"].endswith("times slower")
    assert row["speedup"] < 1


def test_texts_of_a_command_line():
    parsed = BenchSettings.parsed(["torch,train", "onnxruntime"], "1,16", 2, "cpu", pairs=9, seconds=3.0)
    assert parsed == BenchSettings(("torch", "train", "onnxruntime"), (1, 16), 2, "cpu", Sampling(9, 3.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batches": ()}, r"expected batches of at least 1, got \[\]"),
        ({"batches": (1, 0)}, r"expected batches of at least 1, got \[1, 0\]"),
        ({"threads": 0}, "expected threads of at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        BenchSettings(**settings)


def test_a_batch_that_no_engine_takes_is_refused():
    settings = BenchSettings(("train",), (1,), device="cpu")
    with pytest.raises(UsageError, match=r"expected a batch of at least 2 for engine train, got \[1\]"):
        settings.comparisons()


def test_an_engine_may_say_where_it_runs():
    """As `--engine` of a latency budget takes it."""
    settings = BenchSettings(("onnxruntime-cpu", "onnxruntime", "torch-cpu"), (1,), device="cpu")
    assert [engine.name for engine, _ in settings.comparisons()] == ["onnxruntime", "torch"]


def test_an_engine_of_another_place_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="expected device cuda for engine torch-cuda, got cpu"):
        BenchSettings(("torch-cuda",), (1,), device="cpu").comparisons()
