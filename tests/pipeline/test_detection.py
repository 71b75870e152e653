"""Detectors from annotated images to slim ones that torchvision's own interface runs."""

import json
import runpy
from pathlib import Path

import onnxruntime
import pytest
import torch
from torchvision.models import detection

import slimprune
from slimprune.errors import SlimpruneError, UnsupportedModelError, UsageError
from tests.detectors import two_stages

SCENES = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "scenes.py"))
SETTINGS = {"ratio": 0.5, "of": "macs", "epochs": 1, "batch_size": 4, "score_batch": 2, "draws": 1}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    SCENES["draw_scenes"](folder, counts={"train": 8, "val": 4})
    return f"coco:{folder}"


def test_a_detector_is_slimmed_scored_trained_exported_and_used_by_torchvision(tmp_path, scenes):
    pytest.importorskip("pycocotools", reason="needs the extra detection")
    report = slimprune.compress("ssd_tiny", data=scenes, criterion="prospr", out=tmp_path / "net.onnx", **SETTINGS)
    document = json.loads((tmp_path / "net.report.json").read_text())
    assert document["metric"] == {
        "task": "detection", "reads": "boxes", "name": "map", "unit": "%", "higher_is_better": True,
    }  # fmt: skip
    assert 0 <= report.training.final <= 1
    assert document["macs"]["slim"] <= 0.5 * document["macs"]["dense"]
    assert "predictions agree" not in (tmp_path / "net.report.md").read_text()
    slim = slimprune.load(tmp_path / "net.slim")
    assert isinstance(slim, detection.ssd.SSD)
    images, boxes = next(iter(slimprune.load_data(scenes).test_batches(2)))
    found = slim([*images])
    assert found[0].keys() == {"boxes", "scores", "labels"}
    (rows,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"input": images.numpy()})
    best = found[0]["scores"].argmax()
    assert rows[0, :, 3 + found[0]["labels"][best]].max() == pytest.approx(found[0]["scores"][best].item(), abs=1e-4)
    targets = [{"boxes": row[row[:, 0] >= 0, 1:], "labels": row[row[:, 0] >= 0, 0].long() + 1} for row in boxes]
    assert sum(slim.train()([*images], targets).values()).isfinite()


@pytest.mark.parametrize(
    ("arch", "options", "error", "found"),
    [
        ("resnet20", {}, UsageError, "an architecture for detection .the task of coco:.*, got resnet20"),
        ("ssd_tiny", {"mixup": 0.2}, UsageError, "no --mixup beside task detection"),
        ("ssd_tiny", {"int8": True}, UsageError, "no --int8 beside task detection"),
        ("ssd_tiny", {"mean": (0.5,) * 3, "std": (0.5,) * 3}, UsageError, "no mean and std for detection"),
        ("ssd_tiny", {"task": "classification"}, UsageError, "a task for the targets of .* .detection., got class"),
        ("ssd_tiny", {"data": "digits"}, UsageError, "an architecture for classification .*, got ssd_tiny"),
    ],
)
def test_what_does_not_fit_a_detector_is_refused(tmp_path, scenes, arch, options, error, found):
    with pytest.raises(error, match=found):
        slimprune.compress(arch, out=tmp_path / "net.onnx", **{**SETTINGS, "data": scenes, **options})


def test_two_stages_write_a_bundle_and_say_what_replaces_exact_meta_gradients_before_any_step(tmp_path, scenes):
    pytest.importorskip("pycocotools", reason="needs the extra detection")
    model, steps = two_stages(3, 96), []
    data = slimprune.load_data(scenes)
    given = {"train_batches": data.train_batches(4), "test_batches": data.test_batches(4), "task": "detection"}
    given |= {"ratio": 0.5, "epochs": 1, "draws": 1, "lr": 0.001}
    with pytest.raises(UnsupportedModelError, match=r"one stage for .onnx files, got FasterRCNN.*--out net.slim"):
        slimprune.compress(model, out=tmp_path / "net.onnx", **given)
    with pytest.raises(UnsupportedModelError, match=r"second derivatives, got .*roi_align.*prospr-first-order"):
        slimprune.compress(
            model,
            out=tmp_path / "net.slim",
            criterion="prospr",
            when="after-training",
            listener=lambda *told: steps.append(told),
            **given,
        )
    assert steps == []
    report = slimprune.compress(model, out=tmp_path / "net.slim", criterion="prospr-first-order", **given)
    assert report.slim.cost.params < 0.5 * report.dense.cost.params + 1
    slim = slimprune.load(tmp_path / "net.slim", model=model)
    assert slim([torch.rand(3, 96, 96)])[0].keys() == {"boxes", "labels", "scores"}


@pytest.mark.slow
def test_scenes_are_found_by_a_network_of_half_the_macs_nearly_as_well(tmp_path):
    SCENES["draw_scenes"](tmp_path / "scenes")
    report = slimprune.compress(
        "ssd_tiny",
        data=f"coco:{tmp_path / 'scenes'}",
        out=tmp_path / "net.onnx",
        **{**SETTINGS, "epochs": 80, "batch_size": 16, "optimizer": "adamw", "lr": 0.002, "train_dense": True},
    )
    assert report.dense_training.final > 0.5
    assert report.training.final > report.dense_training.final - 0.03


def test_an_object_that_is_no_detector_is_refused(tmp_path, scenes):
    data = slimprune.load_data(scenes)
    with pytest.raises(SlimpruneError, match="a detector of torchvision or ultralytics for detection, got Sequential"):
        slimprune.compress(
            torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 2, 3)),
            train_batches=data.train_batches(4),
            test_batches=data.test_batches(4),
            task="detection",
            ratio=0.5,
            out=tmp_path / "net.onnx",
        )
