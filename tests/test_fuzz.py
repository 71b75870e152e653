"""Two thousand odd inputs: each one ends soon, in one line and the documented exit code, and leaves nothing behind.

Every input is either refused or does its work. `pytest -m slow tests/test_fuzz.py -s` prints how many ended how.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from slimprune import cli, pipeline
from slimprune.cli.commands import SUMMARIES
from slimprune.models import InputSpec, build
from slimprune.recipe import Recipe
from slimprune.surgery.bundle import _canonical, _digest
from tests.commands import listing

pytestmark = pytest.mark.slow
CODES = (0, 2, 3, 4, 5, 6)
"""Exit codes of docs/command-line.md but 1, the unexpected, and those of signals."""
SECONDS = 60
COUNTS: dict[str, Counter[int]] = {}

ODD_TEXT = st.one_of(
    st.sampled_from(
        ["", " ", "..", "/", "/dev/zero", "/dev/full", "-1", "--", "nan", "inf", "1e308", "true", "null", "é", "\u202e",
         "\x1b[2J", "a\x00b", "\ud800", "<script>", "%s", "{x}", "a" * 300, "macs=0.5,params=0.5", "os:system", "[]"]
    ),
    st.text(max_size=20),
)  # fmt: skip
ODD_NUMBER = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.0, -0.5, 1.5, float("nan"), float("inf"), 1e308, 1e-308]),
    st.integers(),
    st.floats(),
)
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), ODD_NUMBER, ODD_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ODD_TEXT, inner, max_size=3)),
    max_leaves=6,
)
FIELDS = sorted(Recipe.model_fields)
SMALL = {"arch": "resnet8", "data": "digits", "ratio": 0.5, "rule": "uniform", "train_size": 16, "batch_size": 8,
         "draws": 1, "epochs": 1}  # fmt: skip
"""A run that takes a second, in which something is replaced."""
LONG = {"image_size", "steps", "draws", "score_batch", "inner_lr", "criterion", "rule", "of", "budget", "pretrained"}
"""Fields whose valid values may make planning long, or download; their odd values are tried by tests of their own."""


def several(number: int) -> Callable[[Any], Any]:
    """Try `number` inputs, the same in every run."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # the first failure is small enough, and making it smaller takes minutes
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def counts() -> Iterator[None]:
    """Prints how many inputs of each kind ended with which exit code."""
    yield
    for kind, found in COUNTS.items():
        sys.stdout.write(f"\n{kind}: {sum(found.values())} inputs, exit codes {dict(sorted(found.items()))}")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an architecture that slimprune has, its ONNX file and its weights."""
    folder = tmp_path_factory.mktemp("small")
    chosen: Any = {name: value for name, value in SMALL.items() if name != "arch"}
    pipeline.compress("resnet8", out=folder / "a.onnx", **chosen)
    return folder


def check(kind: str, *arguments: object) -> int:
    """Run a command line in this process and check how it ends; return its exit code."""
    before, began = listing(Path()), time.monotonic()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([str(argument) for argument in arguments])
    said = err.getvalue()
    what = f"{arguments} ended with {code}: {said}"
    assert time.monotonic() - began < SECONDS, what
    assert code in CODES, what
    assert "Traceback" not in said, what
    assert "error: unexpected " not in said, what
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == (code != 0), what
    if code:
        assert listing(Path()) == before, what
    COUNTS.setdefault(kind, Counter())[code] += 1
    return code


def write(name: str, content: str) -> None:
    Path(name).write_bytes(content.encode("utf-8", "surrogatepass"))


# Command lines, recipes and grids -------------------------------------------------------------------------------------

COMMANDS = [name for name in SUMMARIES if name != "list"]
FLAGS = ["--" + name.replace("_", "-") for name in FIELDS if name not in LONG] + ["--config", "--out", "--nonsense"]


@several(500)
@given(
    command=st.sampled_from(COMMANDS),
    words=st.lists(ODD_TEXT, max_size=2),
    flags=st.lists(st.tuples(st.sampled_from(FLAGS), ODD_TEXT), max_size=3),
)
def test_command_lines(folder: Path, command: str, words: list[str], flags: list[tuple[str, str]]) -> None:
    check("command lines", command, *words, *(part for flag in flags for part in flag))


@several(500)
@given(fields=st.dictionaries(st.one_of(st.sampled_from(FIELDS), ODD_TEXT), ODD, min_size=1, max_size=4))
def test_recipes(folder: Path, fields: dict[str, Any]) -> None:
    replaced = {name: value for name, value in fields.items() if name not in LONG}
    write("r.yaml", yaml.safe_dump({**SMALL, **replaced}, allow_unicode=True))
    check("recipes", "plan", "--config", "r.yaml")


@several(200)
@given(place=st.integers(0, 400), inserted=ODD_TEXT, cut=st.integers(0, 40))
def test_texts_of_recipes(folder: Path, place: int, inserted: str, cut: int) -> None:
    text = yaml.safe_dump({**SMALL, "unknown": [1, {"a": "b"}]})
    write("r.yaml", text[:place] + inserted + text[place + cut :])
    check("recipes", "plan", "--config", "r.yaml")


@several(200)
@given(fields=st.dictionaries(
    st.sampled_from(["title", "base", "budgets", "seeds", "dense", "twins", "uniform", "rows", "timing", "x"]), ODD,
    min_size=1, max_size=3,
))  # fmt: skip
def test_grids(folder: Path, fields: dict[str, Any]) -> None:
    plain = {"base": SMALL, "budgets": ["params=0.5"], "seeds": [0], "dense": False, "twins": False, "uniform": False}
    grid = {**plain, "rows": {"bad": {"rule": "no-rule"}}, **fields}
    write("g.yaml", yaml.safe_dump(grid, allow_unicode=True))
    check("grids", "compare", "g.yaml", "--out", "made")
    shutil.rmtree("made", ignore_errors=True)


# Files ----------------------------------------------------------------------------------------------------------------


def places(document: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values of a JSON document."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: object) -> Any:
    """Return a document with another value at a path."""
    if not path:
        return value
    copied = dict(document) if isinstance(document, dict) else list(document)
    copied[path[0]] = replaced(document[path[0]], path[1:], value)
    return copied


@several(150)
@given(
    data=st.data(),
    value=ODD,
    command=st.sampled_from(["verify", "verify", "verify", "export", "bench"]),
)
def test_bundles(folder: Path, small: Path, data: st.DataObject, value: object, command: str) -> None:
    document = json.loads((small / "a.slim" / "slim.json").read_text())
    del document["digest"]
    path = data.draw(st.sampled_from([place for place in places(document) if "index" not in place]))
    document = replaced(document, path, value)
    if isinstance(document, dict):
        with contextlib.suppress(ValueError):  # what JSON cannot hold
            document["digest"] = _digest(_canonical(document))
    shutil.rmtree("m.slim", ignore_errors=True)
    shutil.copytree(small / "a.slim", "m.slim")
    write("m.slim/slim.json", json.dumps(document))
    rest = {
        "verify": [small / "a.onnx"],
        "export": ["--out", "x.onnx"],
        "bench": ["--seconds", "0.2", "--engine", "onnxruntime", "--batch", "1"],
        "predict": ["."],
    }
    check("bundles", command, "m.slim", *rest[command])
    Path("x.onnx").unlink(missing_ok=True)


@several(100)
@given(data=st.data(), kind=st.sampled_from([torch.int8, torch.bool, torch.float16, torch.float64, torch.complex64]))
def test_weights(folder: Path, data: st.DataObject, kind: torch.dtype) -> None:
    weights = build("resnet8", InputSpec(3, 32, 32, 10)).state_dict()
    name = data.draw(st.sampled_from(sorted(weights)))
    change = data.draw(st.sampled_from(["kind", "shape", "nan", "name", "bytes", "none"]))
    if change == "kind":
        weights[name] = weights[name].to(kind)
    elif change == "shape":
        weights[name] = torch.zeros(data.draw(st.lists(st.integers(0, 5), max_size=5)))
    elif change == "nan":
        weights[name] = (
            torch.full_like(weights[name], torch.nan) if weights[name].is_floating_point() else weights[name]
        )
    elif change == "name":
        weights[data.draw(ODD_TEXT).encode("utf-8", "replace").decode()] = weights.pop(name)
    elif change == "none":
        del weights[name]
    save_file(weights, "w.safetensors")
    if change == "bytes":
        broken("w.safetensors", data)
    options = (f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items())
    check("weights", "plan", *options, "--weights", "w.safetensors")


def broken(file: str, data: st.DataObject) -> None:
    """Overwrite some bytes of a file, or cut it."""
    content = bytearray(Path(file).read_bytes())
    place = data.draw(st.one_of(st.integers(0, 300), st.integers(0, len(content) - 1)))
    patch = data.draw(st.binary(max_size=8))
    content[place : place + len(patch)] = patch
    Path(file).write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 0]))])


@several(150)
@given(data=st.data(), text=ODD_TEXT, command=st.sampled_from(["verify", "predict"]))
def test_onnx_files(folder: Path, small: Path, data: st.DataObject, text: str, command: str) -> None:
    model = onnx.load(small / "a.onnx")
    change = data.draw(st.sampled_from(["bytes", "metadata", "plain", "output", "node"]))
    if change != "bytes":
        del model.metadata_props[:]  # and with them the seal
    if change == "metadata":
        entry = data.draw(st.sampled_from([entry.key for entry in onnx.load(small / "a.onnx").metadata_props]))
        onnx.helper.set_model_props(model, {entry: text.encode("utf-8", "replace").decode()})
    elif change == "output":
        model.graph.output[0].type.tensor_type.elem_type = data.draw(st.integers(0, 20))
    elif change == "node":
        del model.graph.node[data.draw(st.integers(0, len(model.graph.node) - 1))]
    Path("m.onnx").write_bytes(model.SerializeToString())
    if change == "bytes":
        shutil.copy(small / "a.onnx", "m.onnx")
        broken("m.onnx", data)
    Path("pictures").mkdir(exist_ok=True)
    check(
        "ONNX files", *(["verify", small / "a.slim", "m.onnx"] if command == "verify" else ["predict", "m.onnx", "."])
    )


SHAPES = st.one_of(
    st.sampled_from([[20, 3, 8, 8], [20, 1, 8, 8], [20], [20, 8, 8]]), st.lists(st.integers(0, 9), max_size=5)
)


@several(100)
@given(
    shapes=st.tuples(SHAPES, SHAPES),
    kinds=st.tuples(*2 * [st.sampled_from([torch.uint8, torch.float32, torch.int64, torch.bool, torch.float16])]),
    fill=st.sampled_from([0, 1, 255, -1, 10**6, float("nan")]),
    names=st.sampled_from([("images", "labels"), ("images", "masks"), ("images", "targets"), ("x", "y")]),
)
def test_tensors(
    folder: Path, shapes: tuple[list[int], list[int]], kinds: tuple[torch.dtype, torch.dtype], fill: float,
    names: tuple[str, str],
) -> None:  # fmt: skip
    Path("d").mkdir(exist_ok=True)
    for part in ("train", "test"):
        arrays = {
            name: torch.full(shape, fill, dtype=torch.float32).to(kind)
            for name, shape, kind in zip(names, shapes, kinds, strict=True)
        }
        save_file(arrays, f"d/{part}.safetensors")
    options = (f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items() if key != "data")
    check("data", "plan", *options, "--data", "tensors:d")


def picture() -> bytes:
    """Return a PNG file."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


@several(100)
@given(
    classes=st.lists(
        st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=9)
    ),
    content=st.one_of(st.binary(max_size=40), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", picture()])),
)
def test_folders(folder: Path, classes: list[str], content: bytes) -> None:
    shutil.rmtree("f", ignore_errors=True)
    for part in ("train", "test"):
        for name in classes:
            if name not in (".", ".."):
                (Path("f") / part / name).mkdir(parents=True, exist_ok=True)
                (Path("f") / part / name / "a.png").write_bytes(content)
    if classes and hasattr(os, "mkfifo") and len(content) % 2 and Path("f/train").exists():
        os.mkfifo("f/train/pipe.png")
    options = (f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items() if key != "data")
    check("data", "plan", *options, "--image-size", 8, "--data", "folder:f")
