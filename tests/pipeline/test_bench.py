import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import slimprune
from slimprune import BenchSettings, InputSpec, Origin, Sampling, bench
from slimprune.errors import UsageError, VerificationError
from slimprune.pipeline.bench import with_latency
from slimprune.report import markdown, report_html
from slimprune.surgery import read, restore, save
from slimprune.timing import sampling
from tests.conftest import Compressed

QUICK = BenchSettings(("torch",), (1, 2), 1, "cpu", Sampling(8, 0.01))


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "WARM_UP_SECONDS", 0.05)


@pytest.fixture(scope="module")
def other(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of another run."""
    bundle = tmp_path_factory.mktemp("other") / "other.slim"
    slimprune.compress(**{**settings, "ratio": 0.3, "out": bundle})
    return bundle


def test_a_bundle_against_its_dense_network(compressed: Compressed, folder: Path) -> None:
    state = torch.random.get_rng_state()
    document = bench(compressed.bundle, replace(QUICK, engines=("torch", "onnxruntime"), batches=(2,)), trust_code=True)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (document["bundle"], document["against"]) == ("tiny.slim", "dense")
    assert document["inputs"] == {"shape": [3, 16, 16], "kind": document["inputs"]["kind"]}
    assert document["inputs"]["kind"].startswith("synthetic")
    assert [row["engine"] for row in document["latency"]] == ["torch", "onnxruntime"]
    of_report = compressed.document["macs"]
    assert document["macs"] == {**{key: of_report[key] for key in ("dense", "slim")}, "reduction": pytest.approx(
        of_report["dense"] / of_report["slim"])}  # fmt: skip
    assert document["environment"]["threads"] == document["latency"][0]["threads"] == 1
    assert {"device", "cores", "load_average", "torch", "onnxruntime"} <= document["environment"].keys()
    assert document["method"]["pairs"] == 8
    assert list(folder.iterdir()) == []


def test_two_bundles(compressed: Compressed, other: Path) -> None:
    document = bench(compressed.bundle, QUICK, against=str(other), trust_code=True)
    assert document["against"] == "other.slim"
    assert {row["against"] for row in document["latency"]} == {"other.slim"}
    params = json.loads((other / "slim.json").read_text())["results"]["macs"]["slim"]
    assert document["macs"]["dense"] == params


def test_bundles_for_other_images_are_refused(compressed: Compressed, tmp_path: Path) -> None:
    found = read(compressed.bundle)
    module, larger = restore(found, trust_code=True), Origin(found.origin.arch, InputSpec(3, 24, 24, 2))
    save(module, found.plan, tmp_path / "large.slim", origin=larger, recipe=found.recipe, results=found.results)
    with pytest.raises(UsageError, match=r"inputs of one shape, got \(3, 16, 16\) and \(3, 24, 24\)"):
        bench(compressed.bundle, QUICK, against=str(tmp_path / "large.slim"), trust_code=True)


def test_files(compressed: Compressed, tmp_path: Path) -> None:
    out, report = tmp_path / "new" / "times.json", tmp_path / "tiny.report.json"
    shutil.copy(compressed.onnx.with_suffix(".report.json"), report)
    document = bench(compressed.bundle, QUICK, trust_code=True, out=out, report=report)
    assert json.loads(out.read_text()) == document
    assert out.with_suffix(".md").read_text().startswith("# tiny.slim against dense\n")
    extended = json.loads(report.read_text())
    assert extended == {**compressed.document, "latency": document["latency"]}
    assert (tmp_path / "tiny.report.md").read_text() == markdown(extended)
    assert (tmp_path / "tiny.report.html").read_text() == report_html(extended, tmp_path)
    names = ["new", "tiny.report.html", "tiny.report.json", "tiny.report.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    # A second time replaces its own figures only.
    again = bench(compressed.bundle, replace(QUICK, batches=(2, 3)), trust_code=True, report=report)
    rows = json.loads(report.read_text())["latency"]
    assert [(row["engine"], row["batch"]) for row in rows] == [("torch", 1), ("torch", 2), ("torch", 3)]
    assert rows[1:] == again["latency"]


def test_rows_are_replaced_by_engine_device_batch_and_threads() -> None:
    row = {"engine": "torch", "device": "cpu", "batch": 1, "threads": 1, "dense_ms": 1.0}
    others = [{**row, **change} for change in ({"engine": "train"}, {"device": "b"}, {"batch": 2}, {"threads": 2})]
    new = {**row, "dense_ms": 2.0}
    assert with_latency({"a": 1, "latency": [row, *others]}, [new]) == {"a": 1, "latency": [*others, new]}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda text: "{", VerificationError, "cannot be read: expected JSON, got EOF"),
        (lambda text: "[]", VerificationError, "cannot be read: expected an object, got \\[\\]"),
        (lambda text: "{}", VerificationError, "cannot be read: schema_version: expected a field, got none"),
        (lambda text: text.replace('"hash": "', '"hash": "0'), VerificationError, "got one of another run"),
    ],
)
def test_a_report_that_does_not_belong_to_the_bundle_is_refused(
    compressed: Compressed, tmp_path: Path, change: Any, error: type[Exception], message: str
) -> None:
    report = tmp_path / "tiny.report.json"
    report.write_text(change(compressed.onnx.with_suffix(".report.json").read_text()))
    before = report.read_text()
    with pytest.raises(error, match=message):
        bench(compressed.bundle, QUICK, trust_code=True, report=report)
    assert report.read_text() == before


def test_a_report_is_about_the_dense_network(compressed: Compressed, other: Path) -> None:
    report = compressed.onnx.with_suffix(".report.json")
    with pytest.raises(UsageError, match="expected --against dense for a report"):
        bench(compressed.bundle, QUICK, against=str(other), trust_code=True, report=report)


def test_the_times_do_not_overwrite_the_report(compressed: Compressed) -> None:
    report = compressed.onnx.with_suffix(".report.json")
    with pytest.raises(UsageError, match="got the report itself"):
        bench(compressed.bundle, QUICK, trust_code=True, report=report, out=report)
