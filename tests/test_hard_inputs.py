"""Kinds of bad input, each of which ends in one line, with the right exit code, soon and without a trace."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from slimprune import pipeline
from slimprune.bounded import read_bounded
from slimprune.data import load
from slimprune.surgery.bundle import _canonical, _digest
from tests.commands import Run, error_line, listing

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
RECIPES = [
    ("arch: " + 500 * "[" + 500 * "]", "expected at most 20 levels of lists and mappings, got more"),
    (BOMB, "expected at most 100,000 values, aliases written out, got more"),
    ("arch: &a [*a]", "expected no alias inside of what it repeats, got *a"),
    ('arch: vgg11\nout: "a\\0b.onnx"', "out: expected text in UTF-8 without null bytes"),
    ('arch: "\\ud800"', "arch: expected text in UTF-8 without null bytes"),
    ("protect: [a, b]\narch: !!binary /w==", "arch: expected text in UTF-8 without null bytes"),
    ("arch: 2026-01-01", "arch: expected a valid string"),
    ("arch: !!python/object:os.system {}", "is not YAML"),
    (2**20 * "#" + "#", "cannot be read: Larger than 1,048,576 bytes"),
]
NUMBERS = [
    f"--{name} {value}"
    for name in ("image-size", "train-size", "rewind-step", "dense-epochs", "steps", "draws", "rounds", "score-batch",
                 "round-to", "bench-batch", "bench-threads", "epochs", "batch-size", "patience")
    for value in ("3000000000", "99999999999999999999999", "1e308")
] + [
    f"--{name} {value}"
    for name in ("lr", "inner-lr", "weight-decay", "warm-up", "mixup", "cutmix", "temperature",
                 "regularizer-strength", "max-loss")
    for value in ("1e308", "1e31")
]  # fmt: skip


@pytest.mark.parametrize(("text", "fragment"), RECIPES, ids=[text[:20] for text, _ in RECIPES])
def test_recipes(folder: Path, slimprune: Callable[..., Run], text: str, fragment: str) -> None:
    Path("r.yaml").write_text(text)
    for command in ("run r.yaml", "compare r.yaml"):
        result = slimprune(*command.split())
        assert result[0] == 2
        assert "run" not in command or fragment in error_line(result)
        assert listing(folder) == ["r.yaml"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_recipe_that_is_a_pipe(folder: Path, slimprune: Callable[..., Run]) -> None:
    os.mkfifo("r.yaml")
    assert error_line(slimprune("run", "r.yaml")) == "error: recipe r.yaml cannot be read: Not a regular file"
    with pytest.raises(IsADirectoryError):
        read_bounded(folder, 1)


@pytest.mark.parametrize("flags", NUMBERS)
def test_numbers_have_an_upper_end(folder: Path, slimprune: Callable[..., Run], flags: str) -> None:
    result = slimprune("plan", "--arch", "vgg11", *flags.split())
    line = error_line(result)
    assert result[0] == 2
    assert line.startswith(f"error: {flags.split()[0][2:].replace('-', '_')}: expected ")
    assert "unexpected" not in line


def test_texts_that_are_no_utf_8(slimprune: Callable[..., Run]) -> None:
    result = slimprune("plan", "--arch", os.fsdecode(b"a\xff"), "--protect", "a,b")
    assert (result[0], error_line(result)) == (
        2, r"error: arch: expected text in UTF-8 without null bytes, got 'a\udcff'",
    )  # fmt: skip


# Bundles, ONNX files, weights and data ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an architecture that slimprune has, and its ONNX file."""
    folder = tmp_path_factory.mktemp("small")
    settings = {"train_size": 16, "epochs": 1, "draws": 1, "batch_size": 8, "rule": "uniform", "ratio": 0.5}
    pipeline.compress("resnet8", data="digits", out=folder / "a.onnx", **settings)
    return folder


def altered(small: Path, place: tuple[str, ...], value: Any) -> None:
    """Write the bundle to m.slim with another value at one place of its description, sealed again."""
    shutil.copytree(small / "a.slim", "m.slim")
    document = json.loads(Path("m.slim/slim.json").read_text())
    del document["digest"]
    inside = document
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    if value is None:
        del inside[place[-1]]
    document["digest"] = _digest(_canonical(document))
    Path("m.slim/slim.json").write_text(json.dumps(document))


BUNDLES = [
    (("architecture", "inputs", "classes"), 10**9),
    (("architecture", "inputs", "classes"), 100_000),
    (("architecture", "inputs", "channels"), 10**6),
    (("architecture", "inputs", "height"), 10**6),
    (("architecture", "arch"), None),
    (("recipe", "image_size"), 10**9),
    (("recipe", "image_size"), True),
    (("sha256", "../../etc/hostname"), "0"),
    (("sha256", "weights.safetensors"), None),
    (("plan", "budget", "ratio"), None),
    (("plan", "slim", "params"), "many"),
    (("plan", "groups", 0, "slots", 0, "index"),  # type: ignore[list-item]
     {"offset": 0, "width": 10**9, "step": 1, "entries": 1, "stride": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), BUNDLES, ids=str)
def test_bundles(folder: Path, slimprune: Callable[..., Run], small: Path, place: tuple[str, ...], value: Any) -> None:
    altered(small, place, value)
    for command in (("verify", "m.slim", small / "a.onnx"), ("export", "m.slim", "--out", "x.onnx")):
        result = slimprune(*command)
        assert "unexpected" not in error_line(result)
        assert result[0] in ((2, 5) if place == ("architecture", "arch") else (5,))
    assert not Path("x.onnx").exists()


@pytest.mark.parametrize("change", ["int8", "nan"])
def test_weights_of_another_kind(folder: Path, slimprune: Callable[..., Run], small: Path, change: str) -> None:
    shutil.copytree(small / "a.slim", "m.slim")
    tensors = load_file("m.slim/weights.safetensors")
    name = "fc.weight"
    tensors[name] = tensors[name].to(torch.int8) if change == "int8" else torch.full_like(tensors[name], torch.nan)
    save_file(tensors, "m.slim/weights.safetensors")
    shutil.copytree("m.slim", "b.slim")
    shutil.rmtree("m.slim")
    document = json.loads(Path("b.slim/slim.json").read_text())
    del document["digest"]
    document["sha256"]["weights.safetensors"] = _digest(Path("b.slim/weights.safetensors").read_bytes())
    document["digest"] = _digest(_canonical(document))
    Path("b.slim/slim.json").write_text(json.dumps(document))
    expected = {
        "int8": "expected fc.weight in float32, got int8",
        "nan": "expected finite numbers in fc.weight",
    }
    result = slimprune("bench", "b.slim")
    assert (result[0], expected[change] in error_line(result)) == (5, True)


def test_a_report_that_cannot_be_shown(folder: Path, slimprune: Callable[..., Run], small: Path) -> None:
    document = json.loads((small / "a.report.json").read_text())
    del document["environment"]["device"]
    Path("x.report.json").write_text(json.dumps(document))
    result = slimprune("bench", small / "a.slim", "--report", "x.report.json")
    assert error_line(result) == "error: report x.report.json cannot be shown: KeyError: 'device'"
    assert result[0] == 5


def onnx_file(kind: int, *, node: str = "Cast", external: bool = False) -> onnx.ModelProto:
    images = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 32, 32])
    if node == "Cast":
        output = onnx.helper.make_tensor_value_info("y", kind, ["n", 3, 32, 32])
        nodes = [onnx.helper.make_node("Cast", ["x"], ["y"], to=kind)]
    else:
        output = onnx.helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, None)
        nodes = [onnx.helper.make_node("SequenceConstruct", ["x"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", [images], [output])
    if external:
        tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [0.0])
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/hostname")
        graph.initializer.append(tensor)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model


@pytest.mark.parametrize(
    ("model", "fragment"),
    [
        (onnx_file(onnx.TensorProto.BOOL), "expected an output of kind tensor(float)"),
        (onnx_file(onnx.TensorProto.STRING), "expected an output of kind tensor(float)"),
        (onnx_file(0, node="SequenceConstruct"), "expected an output of kind tensor(float)"),
        (onnx_file(onnx.TensorProto.FLOAT, external=True), "reads them from other files"),
    ],
    ids=["bool", "string", "sequence", "external"],
)
def test_onnx_files(
    folder: Path, slimprune: Callable[..., Run], small: Path, model: onnx.ModelProto, fragment: str
) -> None:
    Path("x.onnx").write_bytes(model.SerializeToString())
    result = slimprune("verify", small / "a.slim", "x.onnx")
    assert fragment in error_line(result)
    assert result[0] == 5


def test_metadata_that_are_no_utf_8(folder: Path, slimprune: Callable[..., Run], small: Path) -> None:
    model = onnx_file(onnx.TensorProto.FLOAT)
    model.metadata_props.add(key="slimprune.mean", value="mark")
    Path("x.onnx").write_bytes(model.SerializeToString().replace(b"mark", b"\xff\xfe\xff\xfe"))
    for command in (("verify", small / "a.slim", "x.onnx"), ("predict", "x.onnx", "x.png")):
        result = slimprune(*command)
        assert "unexpected" not in error_line(result)
        assert result[0] == 5


def test_a_label_that_would_build_a_huge_head(folder: Path, slimprune: Callable[..., Run]) -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    for part in ("train", "test"):
        save_file({"images": images, "labels": torch.tensor([0, 1, 2, 10**7])}, f"{part}.safetensors")
    result = slimprune("plan", "--arch", "resnet8", "--data", "tensors:.")
    assert (result[0], "expected labels below 100,000 in" in error_line(result)) == (6, True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_loops_among_the_data(folder: Path, slimprune: Callable[..., Run]) -> None:
    for part in ("train", "val"):
        (folder / part / "a").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / part / "a" / "1.png")
        os.mkfifo(folder / part / "a" / "2.png")
        (folder / part / "a" / "again").symlink_to(folder / part)
        (folder / part / "a" / "self").symlink_to(folder / part / "a")
    data = load(f"folder:{folder}")
    assert (data.train_size, data.test_size) == (1, 1)
    os.mkfifo("train.safetensors")
    for arguments in (("--data", "tensors:."), ("--data", "digits", "--weights", "train.safetensors")):
        result = slimprune("plan", "--arch", "resnet8", *arguments)
        assert (result[0], "Not a regular file" in error_line(result)) == (6, True)


def test_names_of_classes_that_are_no_utf_8(folder: Path, slimprune: Callable[..., Run]) -> None:
    for part in (b"train", b"val"):
        os.makedirs(os.path.join(part, b"a\xff"))
    result = slimprune("plan", "--arch", "resnet8", "--data", "folder:.")
    assert (result[0], "expected names of classes in UTF-8" in error_line(result)) == (6, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_full_while_pictures_are_drawn(
    folder: Path, slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["slimprune.pipeline.compress"]
    monkeypatch.setattr(module, "draw_pictures", lambda *_: Path("/dev/full").write_bytes(b"x"))
    options = "--data digits --ratio 0.5 --rule uniform --epochs 1 --train-size 16 --batch-size 8 --out a.onnx"
    result = slimprune("compress", "--arch", "resnet8", *options.split())
    assert (result[0], "No space left on device" in error_line(result)) == (2, True)
    assert "the same command goes on from what was done" in error_line(result)


@pytest.mark.parametrize("name", ["..", "a.b", '"', "line\nbreak", "\ud800"])
def test_names_of_layers_that_cannot_be_addressed(folder: Path, slimprune: Callable[..., Run], name: str) -> None:
    lines = f"""
        from torch import nn
        class Odd(nn.Sequential):
            def __init__(self, classes=10):
                super().__init__(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(classes))
                self._modules[{name!a}] = nn.Identity()
    """
    Path("odd.py").write_text(textwrap.dedent(lines))
    result = slimprune("plan", "--arch", "odd.py:Odd", "--data", "digits", "--ratio", "0.5")
    assert (result[0], "expected printable names of layers without dots" in error_line(result)) == (4, True)


@pytest.mark.parametrize(
    "name", ["a b", "it's", "[bold red]x[/]", "a/b", "<b>&amp;", "{x}", "%s", "`|$x_2$", "a\\b", "\u00f6"]
)
def test_odd_names_of_layers(folder: Path, slimprune: Callable[..., Run], name: str) -> None:
    lines = f"""
        from collections import OrderedDict
        from torch import nn
        def odd(classes=10):
            body = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]
            return nn.Sequential(OrderedDict((str(place) + {name!a}, layer) for place, layer in enumerate(body)))
    """
    Path("odd.py").write_text(textwrap.dedent(lines))
    options = "--data digits --ratio 0.5 --rule uniform --epochs 1 --train-size 16 --batch-size 8 --out a.onnx"
    assert slimprune("compress", "--arch", "odd.py:odd", *options.split())[0] == 0
    assert slimprune("verify", "a.slim", "a.onnx", "--trust-code")[0] == 0
