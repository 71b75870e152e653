"""Networks of ultralytics from annotated images to slim ones that the library itself uses."""

import runpy
from contextlib import chdir
from pathlib import Path

import onnxruntime
import pytest
import torch
import yaml

import slimprune
from slimprune.errors import UnsupportedModelError
from tests.detectors import tiny_yolo

SCENES = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "scenes.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with scenes and the slim network of a tiny YOLO trained on them."""
    pytest.importorskip("pycocotools", reason="needs the extra detection")
    model, folder = tiny_yolo(3), tmp_path_factory.mktemp("yolo")
    SCENES["draw_scenes"](folder / "scenes", counts={"train": 8, "val": 4})
    data = slimprune.load_data(f"coco:{folder / 'scenes'}")
    slimprune.compress(
        model,
        train_batches=data.train_batches(4),
        test_batches=data.test_batches(4),
        task="detection",
        criterion="snip",
        ratio=0.5,
        of="macs",
        optimizer="adamw",
        epochs=1,
        draws=1,
        out=folder / "net.onnx",
    )
    return folder


def images_of(folder) -> torch.Tensor:
    return slimprune.load_data(f"coco:{folder / 'scenes'}").samples(2)


def test_the_file_gives_what_the_library_computes(folder):
    slim, images = slimprune.load(folder / "net.slim", model=tiny_yolo(3)), images_of(folder)
    with torch.no_grad():
        x, y, width, height, *scores = slim(images)[0].unbind(1)
    corners = [side.clamp(0, 96) for side in (x - width / 2, y - height / 2, x + width / 2, y + height / 2)]
    (rows,) = onnxruntime.InferenceSession(folder / "net.onnx").run(None, {"input": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(rows), torch.stack([*corners, *scores], 2), atol=1e-3, rtol=1e-3)


def test_the_library_s_export_is_that_of_the_slim_network(folder):
    yolo, images = slimprune.load_yolo(folder / "net.slim", model=tiny_yolo(3)), images_of(folder)
    with chdir(folder), torch.no_grad():
        expected = yolo.model(images[:1])[0]
        exported = yolo.export(format="onnx", imgsz=96, simplify=False, verbose=False)
        (found,) = onnxruntime.InferenceSession(exported).run(None, {"images": images[:1].numpy()})
    assert Path(exported).name == "yolo11n-slim.onnx"
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-3, rtol=1e-3)


def test_the_library_predicts_and_saves(folder):
    yolo, images = slimprune.load_yolo(folder / "net.slim", model=tiny_yolo(3)), images_of(folder)
    dense = sum(parameter.numel() for parameter in tiny_yolo(3).parameters())
    assert sum(parameter.numel() for parameter in yolo.model.parameters()) < 0.8 * dense
    with chdir(folder):
        found = yolo.predict(images, imgsz=96, conf=0.001, verbose=False)
        yolo.save("net.pt")
        again = type(yolo).__base__("net.pt").predict(images, imgsz=96, conf=0.001, verbose=False)
    assert len(found) == len(again) == 2
    for ours, theirs in zip(found, again, strict=True):
        assert len(ours) == len(theirs) > 0
        torch.testing.assert_close(ours.boxes.conf, theirs.boxes.conf, atol=1e-3, rtol=0)  # saved in half precision


def test_the_library_trains_the_slim_network_and_no_full_one(folder):
    yolo = slimprune.load_yolo(folder / "net.slim", model=tiny_yolo(3))
    widths = [tuple(parameter.shape) for parameter in yolo.model.parameters()]
    for part in ("train", "val"):
        (folder / "layout" / "images" / part).mkdir(parents=True)
        (folder / "layout" / "labels" / part).mkdir(parents=True)
        for image in (folder / "scenes" / part).iterdir():
            (folder / "layout" / "images" / part / image.name).write_bytes(image.read_bytes())
            (folder / "layout" / "labels" / part / f"{image.stem}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    data = {"path": str(folder / "layout"), "train": "images/train", "val": "images/val", "names": [*"abc"]}
    settings = {"epochs": 1, "imgsz": 96, "batch": 4, "workers": 0, "plots": False, "verbose": False, "device": "cpu"}
    (folder / "data.yaml").write_text(yaml.safe_dump(data))
    (folder / "two.yaml").write_text(yaml.safe_dump({**data, "names": [*"ab"]}))
    with pytest.raises(UnsupportedModelError, match="data of 3 classes for this network, got 2"):
        yolo.train(data=str(folder / "two.yaml"), project=str(folder / "runs"), **settings)
    yolo.train(data=str(folder / "data.yaml"), project=str(folder / "runs"), **settings)
    assert [tuple(parameter.shape) for parameter in yolo.model.parameters()] == widths
