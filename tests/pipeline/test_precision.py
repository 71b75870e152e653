"""Files of lower precision: from `compress` and from `export`, on the command line and in Python."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import slimprune
from slimprune import pipeline
from slimprune.export import OnnxRunner, read_metadata
from slimprune.files import ReportDocument, read_document
from slimprune.pipeline import precision as lower
from slimprune.report import alarms, markdown, report_html
from slimprune.timing import Sampling
from slimprune.timing import precision as timing
from slimprune.training import evaluate, top1
from tests.commands import Run, error_line, listing
from tests.conftest import Compressed
from tests.own_network import NET, fresh

FILES = ("NAME.fp16.onnx", "NAME.int8.onnx")


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLING", Sampling(pairs=8, seconds=0.01))
    monkeypatch.setattr("slimprune.timing.sampling.WARM_UP_SECONDS", 0.01)
    monkeypatch.setattr("slimprune.timing.sampling.SAMPLE_SECONDS", 0.001)


def test_compress_writes_verifies_tests_and_times_both(
    folder: Path, slimprune: Callable[..., Run], flags: list[str]
) -> None:
    code, out, err = slimprune("compress", *flags, "--int8", "--fp16", "--max-loss", "100", "--out", "a.onnx")
    assert code == 0, err
    assert " ".join(out.split()).startswith(
        "a.onnx is written; a.fp16.onnx, a.int8.onnx, a.slim and a.report.html, .json and .md lie beside it"
    )
    assert [name for name in listing(folder) if "/" not in name] == [
        "a.fp16.onnx", "a.int8.onnx", "a.onnx", "a.report.html", "a.report.json", "a.report.md", "a.slim",
    ]  # fmt: skip
    document = read_document(ReportDocument, Path("a.report.json").read_bytes(), "a")
    found = document["precisions"]
    assert found is not None
    assert (found["metric"], found["max_loss"]) == ("top1", 100)
    assert [file["precision"] for file in found["files"]] == ["fp32", "fp16", "int8"]
    data = slimprune_data(document)
    for file in found["files"]:
        path = Path(file["file"])
        assert file["bytes"] == path.stat().st_size > 0
        assert 0 < file["zstd_bytes"] < file["bytes"]
        assert read_metadata(path).get("precision", "fp32") == file["precision"]
        assert file["accuracy"] == evaluate(OnnxRunner(path), data.test_batches(7), top1, device="cpu")
        assert file["samples"] == 41
    assert found["files"][0]["accuracy"] == document["training"]["final"]  # type: ignore[index]
    assert [file["calibration"] is None for file in found["files"]] == [True, True, False]
    assert found["files"][2]["calibration"]["images"] == 20  # type: ignore[index] # a half of 40 training images
    assert [[speed["batch"] for speed in file["speed"]] for file in found["files"]] == [[], [1, 8], [1, 8]]
    speed = found["files"][1]["speed"][0]
    assert speed["pairs"] == 8
    assert speed["interval"][0] < speed["speedup"] < speed["interval"][1]
    assert alarms(document) == []
    line = next(line for line in out.splitlines() if line.startswith("int8 "))
    assert f"{100 * found['files'][2]['accuracy']:.2f} %" in line

    code, out, _ = slimprune("verify", "a.slim", "a.int8.onnx", "--trust-code", "--json")
    assert code == 0
    assert (json.loads(out)["precision"], json.loads(out)["samples"]) == ("int8", 41)


def slimprune_data(document: ReportDocument) -> Any:
    return slimprune.load_data(document["recipe"]["data"])


def test_a_loss_above_max_loss_comes_first(
    folder: Path, slimprune: Callable[..., Run], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    described = lower.described

    def worse(file: Path, precision: Any, *rest: Any) -> Any:
        found = described(file, precision, *rest)
        return replace(found, accuracy={"fp32": 0.9, "int8": 0.8, "fp16": 0.895}[precision])

    monkeypatch.setattr(lower, "described", worse)
    code, out, _ = slimprune("compress", *flags, "--int8", "--fp16", "--out", "a.onnx")
    assert code == 0
    sentence = "int8 loses 10.00 points of top1 on the whole test set: a.int8.onnx has 80.00 %, fp32 90.00 %"
    assert " ".join(out.split()).startswith(f"{sentence}; --max-loss is 1 a.onnx is written")
    assert Path("a.report.md").read_text().startswith(f"> **{sentence}")
    document = json.loads(Path("a.report.json").read_text())
    assert document["warnings"][0].startswith(sentence)
    assert Path("a.report.md").read_text().count(sentence) == 1
    page = Path("a.report.html").read_text()
    assert page.index(sentence) < page.index("<h1>")
    assert page.count(sentence) == 1
    document["precisions"]["max_loss"] = 10.1
    document["warnings"] = []
    assert markdown(document).startswith("# ")
    assert sentence not in report_html(document, folder)


def test_own_batches_calibrate_by_their_training_part(folder: Path) -> None:
    inputs = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batches = DataLoader(TensorDataset(inputs, torch.arange(24) % 4), batch_size=8)
    report = slimprune.compress(
        fresh(), train_batches=batches, test_batches=batches, ratio=0.5, epochs=1, out="own.onnx", int8=True, draws=1,
        bench_batch=2,
    )  # fmt: skip
    assert report.precisions is not None
    _, int8 = report.precisions.files
    assert int8.calibration is not None
    assert (int8.calibration.images, int8.calibration.held_out) == (12, 12)
    assert [speed["batch"] for speed in int8.speed] == [1, 2]
    assert onnxruntime.InferenceSession("own.int8.onnx").get_inputs()[0].shape == ["batch", 3, 16, 16]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_export_in_a_lower_precision(precision: Any, compressed: Compressed, tmp_path: Path) -> None:
    check = pipeline.export(compressed.bundle, tmp_path / "a.onnx", precision=precision, trust_code=True)
    assert (check.precision, check.samples, check.noise) == (precision, 41, False)
    again = read_metadata(tmp_path / "a.onnx")
    assert again == {**read_metadata(compressed.onnx), "precision": precision}
    assert listing(tmp_path) == ["a.onnx"]


@pytest.fixture
def own(folder: Path) -> Path:
    """A bundle of an own loop, which names no data."""
    (folder / "own.py").write_text(NET)
    pipeline.prune(fresh(), torch.zeros(2, 3, 16, 16), ratio=0.5).save("own.slim")
    return folder


def test_int8_without_data_is_refused(own: Path, slimprune: Callable[..., Run], data: str) -> None:
    before = listing(own)
    command = ("export", "own.slim", "--model", "own.py:net", "--precision", "int8", "--out", "a.onnx")
    result = slimprune(*command)
    assert (result[0], error_line(result)) == (
        2, "error: expected --data with training images for int8 of own.slim, which names none, got none"
    )  # fmt: skip
    assert listing(own) == before
    code, out, err = slimprune(*command, "--data", data, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["precision"] == "int8"
    assert listing(own) == ["a.onnx", *before]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int4"], "expected precision (fp32, fp16, int8), got 'int4'"),
        (["--precision", "int8", "--data", "digts"], "got 'digts' (did you mean digits?)"),
    ],
)
def test_refusals_leave_nothing(own: Path, slimprune: Callable[..., Run], arguments: list[str], message: str) -> None:
    before = listing(own)
    result = slimprune("export", "own.slim", "--model", "own.py:net", "--out", "a.onnx", *arguments)
    assert result[0] == 2
    assert message in error_line(result)
    assert listing(own) == before


def test_an_unconvertible_network_is_refused_before_training(
    folder: Path, slimprune: Callable[..., Run], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("no such operator")

    monkeypatch.setattr("slimprune.export.quantisation._prepared", fails)
    result = slimprune("compress", *flags, "--int8", "--out", "a.onnx")
    assert result[0] == 4
    assert error_line(result).endswith("that onnxruntime can quantise to int8, got ValueError: no such operator")
    assert "train:" not in result[2]
    assert listing(folder) == []


def test_options_without_effect_are_notes(slimprune: Callable[..., Run], flags: list[str]) -> None:
    _, out, _ = slimprune("plan", *flags, "--int8", "--out", "a.slim", "--max-loss", "2", "--json")
    assert json.loads(out)["warnings"] == ["--int8 has no effect: no ONNX file is written"]
    _, out, _ = slimprune("plan", *flags, "--max-loss", "2", "--json")
    assert json.loads(out)["warnings"] == ["--max-loss has no effect: no file of lower precision is written"]


def test_predict_takes_an_int8_file(compressed: Compressed, folder: Path) -> None:
    from PIL import Image

    pipeline.export(compressed.bundle, folder / "a.onnx", precision="int8", trust_code=True)
    Image.new("RGB", (20, 30), (200, 10, 10)).save("a.png")
    (prediction,) = slimprune.predict("a.onnx", "a.png")
    assert prediction.classes[0].probability > 0.5
