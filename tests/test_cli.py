"""The command line as a new user meets it: what it refuses, what it prints, what it leaves behind."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file

from slimprune import cli, pipeline
from slimprune.recipe import Recipe

from .conftest import Compressed, tiny_images
from .test_outputs import listing

Run = tuple[int, str, str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def slimprune(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs a command line in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> Run:
        code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def flags(settings: dict[str, Any]) -> list[str]:
    """The flags of a run that takes two seconds, but --out."""
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def process(*arguments: object, **keywords: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own, as `slimprune ...` would be."""
    command = [sys.executable, "-c", "from slimprune.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **keywords)


def error_line(result: Run) -> str:
    """The one line on stderr, after those of stages that were done; nothing on stdout."""
    _, out, err = result
    assert out == ""
    lines = [line for line in err.splitlines() if not re.match(r"(prove|score|train): ", line)]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


# Bad input -----------------------------------------------------------------------------------------------------------


def make_bad_things(folder: Path) -> None:
    """Data and recipes that cannot be used."""
    files = {"no.yaml": "a: [1", "list.yaml": "- arch", "field.yaml": "epoch: 3", "type.yaml": "epochs: many"}
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "is.onnx").mkdir()
    for part in ("train", "val"):
        (folder / "empty" / part / "cats").mkdir(parents=True)
        (folder / "corrupt" / part / "cats").mkdir(parents=True)
        (folder / "corrupt" / part / "cats" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbut no more")
    (folder / "floats").mkdir()
    for part in ("train", "test"):
        images, labels = tiny_images(4).float(), torch.arange(4) % 2
        save_file({"images": images, "labels": labels}, folder / "floats" / f"{part}.safetensors")


BAD_INPUT = [
    ("{base} --ratio 0", 2, "ratio: expected a share in (0, 1), got '0'"),
    ("{base} --ratio 1", 2, "ratio: expected a share in (0, 1), got '1'"),
    ("{base} --ratio 1.3", 2, "ratio: expected a share in (0, 1), got '1.3'"),
    ("{base} --ratio nan", 2, "ratio: expected a finite number, got 'nan'"),
    ("{base} --ratio abc", 2, "ratio: expected a valid number, got 'abc'"),
    ("{base} --epochs 0", 2, "epochs: expected greater than or equal to 1, got '0'"),
    ("{base} --seed 99999999999999999999", 2, "seed: expected less than"),
    ("{base} --arch vg19", 2, "got 'vg19' (did you mean vgg19"),
    ("{base} --arch vgg19:depth=3", 2, "expected no options for 'vgg19', got 'depth=3'"),
    ("{base} --data digts", 2, "expected a data set (digits, cifar10, "),
    ("{base} --criterion snap", 2, "expected a criterion (3sp, "),
    ("{base} --rule fair", 2, "expected a rule (global, tempered, uniform), got 'fair'"),
    ("{base} --of flops", 2, "of: expected 'params', 'macs' or 'channels', got 'flops'"),
    ("{base} --gate left", 2, "gate: expected 'consumer', 'norm' or 'producer', got 'left'"),
    ("{base} --dtype float16", 2, "dtype: expected 'float32' or 'float64', got 'float16'"),
    ("{base} --device tpu", 2, "device: expected auto, cpu, cuda or cuda:N, got 'tpu'"),
    ("compress --data {data} --out x.onnx", 2, "expected an architecture (--arch), got none"),
    ("compress --arch {arch} --data {data}", 2, "expected an ONNX file to write (--out), got none"),
    ("{base} --out is.onnx", 2, "expected to write a file, got the folder is.onnx"),
    ("{base} --out no.yaml/new/x.onnx", 2, "cannot write no.yaml/new/x.onnx: Not a directory"),
    ("{base} --out x.pt", 2, "expected --out to end in .onnx, got x.pt"),
    ("{base} --ratioo 0.5", 2, "No such option: --ratioo"),
    ("{base} surplus", 2, "Got unexpected extra argument"),
    ("compres", 2, "No such command 'compres'. Did you mean 'compress'?"),
    ("list colours", 2, "'colours' is not one of 'archs', 'data', 'criteria', 'rules'"),
    ("export x.slim", 2, "Missing option '--out'"),
    ("{base} --protect body.*", 2, "--protect expects the name or pattern of a layer (0, 3, 8, ...), got 'body.*'"),
    ("{base} --criterion 3sp --steps 3", 2, "criterion 3sp has no option 'steps'"),
    ("{base} --config none.yaml", 2, "recipe none.yaml cannot be read: No such file or directory"),
    ("{base} --config no.yaml", 2, "recipe no.yaml is not YAML"),
    ("{base} --config list.yaml", 2, "recipe list.yaml: expected a mapping of fields, got list"),
    ("{base} --config field.yaml", 2, "unknown field 'epoch' (did you mean 'epochs'?)"),
    ("run type.yaml", 2, "epochs: expected a valid integer, got 'many'"),
    ("{base} --arch unet --data digits", 2, "for classification (the task of digits), got unet"),
    ("{base} --arch {file}:nothing", 2, "expected a factory 'nothing' in "),
    ("{base} --arch nowhere.py:net", 2, "expected a Python file, found none at 'nowhere.py'"),
    ("{base} --arch no_such_package:net", 2, "found no module 'no_such_package'"),
    ("{base} --ratio 0.999", 3, "a ratio of 0.9688 at most"),
    ("{base} --floor 0.9", 3, "the floor (90% of the channels"),
    ("{base} --protect *", 3, "may be removed, got none (0: asked for by --protect *; 3: asked for"),
    ("plan --arch {arch} --data {data} --ratio 0.999", 3, "a ratio of 0.9688 at most"),
    ("{base} --arch {file}:raises", 4, "raised RuntimeError: weights are on another disk"),
    ("{base} --arch {file}:no_module", 4, "to return an nn.Module, got int"),
    ("{base} --arch {file}:greedy", 4, "to require at most num_classes and in_channels, got depth"),
    ("{base} --arch {file}:frozen", 4, "expected at least one trainable parameter, got a fully frozen model"),
    ("{base} --arch {file}:one_class", 4, "expected Sequential to give an output of shape (2, 2), got (2, 1)"),
    ("{base} --arch {file}:bare", 4, "expected Flatten to give an output of shape (2, 2), got (2, 768)"),
    ("{base} --arch {file}:picky", 4, "Picky fails on inputs (2, 3, 16, 16): no images of this kind, please"),
    ("{base} --data folder:nowhere", 6, "expected a folder 'train' in 'nowhere', found none"),
    ("{base} --data folder:empty", 6, "expected images in the folders of 'empty/train', found none"),
    ("{base} --data folder:corrupt", 6, "corrupt/train/cats/a.png"),
    ("{base} --data tensors:nowhere", 6, "nowhere/train.safetensors"),
    ("{base} --data tensors:floats", 6, "expected non-empty uint8 images [N, C, H, W] in 'floats/train.safetensors'"),
    ("{base} --lr 1e30", 1, "training stopped: expected a finite loss, got nan at epoch 1, step 2 (lr 1e+30)"),
    ("verify no.slim no.yaml", 2, "expected the folder of a bundle, got no.slim"),
    ("export no.slim --out new/x.onnx", 2, "expected the folder of a bundle, got no.slim"),
    ("verify {bundle} none.onnx", 2, "expected an ONNX file, got none.onnx"),
    ("verify {bundle} no.yaml", 5, "expected a readable ONNX file no.yaml"),
    ("verify {bundle} {onnx}", 2, "allow it with --trust-code"),
    ("verify {bundle} {onnx} --trust-code --data digits", 5, "expected an input for samples"),
    ("verify is.onnx {onnx}", 5, "bundle is.onnx cannot be read"),
    ("export {bundle} --trust-code --out new/x.pt", 2, "expected --out to end in .onnx, got new/x.pt"),
    ("export {bundle} --trust-code --out is.onnx", 2, "expected to write a file, got the folder is.onnx"),
    ("export {bundle} --trust-code --data tensors:nowhere --out new/x.onnx", 6, "nowhere/train.safetensors"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "fragment"), BAD_INPUT, ids=[case[0] for case in BAD_INPUT])
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    folder: Path,
    slimprune: Callable[..., Run],
    flags: list[str],
    arch: str,
    data: str,
    compressed: Compressed,
    arguments: str,
    code: int,
    fragment: str,
) -> None:
    make_bad_things(folder)
    before = listing(folder)
    places = {"arch": arch, "data": data, "file": arch.removesuffix(":net")}
    outputs = {"bundle": compressed.bundle, "onnx": compressed.onnx}
    base = shlex.join(["compress", *flags, "--out", "new/er/x.onnx"])
    result = slimprune(*shlex.split(arguments.format(base=base, **places, **outputs)))
    assert fragment in error_line(result)
    assert result[0] == code
    assert listing(folder) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is present")
def test_a_device_that_is_absent_is_refused(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    result = slimprune("compress", *flags, "--out", "x.onnx", "--device", "cuda")
    assert "expected device cuda to be present" in error_line(result)
    assert (result[0], listing(folder)) == (2, [])


def test_the_traceback_is_shown_on_demand_only(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    bad = ("compress", *flags, "--out", "x.onnx", "--ratio", "2")
    assert "Traceback" not in slimprune(*bad)[2]
    code, out, err = slimprune(*bad, "--debug")
    assert (code, out) == (2, "")
    assert "Traceback" in err
    assert err.splitlines()[-1] == "error: ratio: expected a share in (0, 1), got '2'"


def test_an_error_that_nobody_expected_is_one_line_too(
    slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(kind: str) -> None:
        error = RuntimeError("two\nlines")
        error.add_note("goes on")
        raise error

    monkeypatch.setattr(pipeline, "available", broken)
    result = slimprune("list", "archs")
    assert result[0] == 1
    assert error_line(result) == "error: unexpected RuntimeError: two lines (--debug shows where); goes on"


# What it prints ------------------------------------------------------------------------------------------------------


def test_version(slimprune: Callable[..., Run]) -> None:
    code, out, _ = slimprune("--version")
    assert code == 0
    assert re.fullmatch(r"slimprune \d+\.\d+\.\d+\n", out)


def test_without_a_command_the_help_is_shown(slimprune: Callable[..., Run]) -> None:
    code, out, err = slimprune()
    assert code == 2
    assert "compress" in out
    assert err == ""


@pytest.mark.parametrize("command", ["compress", "plan"])
def test_every_field_of_the_recipe_is_a_flag(
    slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # The help of a narrow terminal cuts names.
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, out, _ = slimprune(command, "--help")
    assert code == 0
    for name in Recipe.model_fields:
        assert re.search(rf"--{name.replace('_', '-')}\b", out), name
    assert "what the ratio counts: params, macs, channels (default params)" in out
    assert "training epochs (default 200, 12 for digits)" in out


@pytest.mark.parametrize(
    ("kind", "name"), [("archs", "resnet18"), ("data", "digits"), ("criteria", "prospr"), ("rules", "uniform")]
)
def test_list(slimprune: Callable[..., Run], kind: str, name: str) -> None:
    code, out, err = slimprune("list", kind)
    assert (code, err) == (0, "")
    assert any(re.match(rf"{name}  +\S", line) for line in out.splitlines())
    assert max(map(len, out.splitlines())) <= 80
    listed = json.loads(slimprune("list", kind, "--json")[1])
    assert name in [entry["name"] for entry in listed]
    assert all(entry["description"] for entry in listed)


def test_plan_twice_gives_the_same_report_but_for_times(
    folder: Path, slimprune: Callable[..., Run], flags: list[str]
) -> None:
    documents = []
    for _ in range(2):
        code, out, _ = slimprune("plan", *flags, "--json")
        assert code == 0
        document = json.loads(out)
        document.pop("seconds")
        document["saliency"] = {k: v for k, v in document["saliency"].items() if k not in ("seconds", "peak_bytes")}
        documents.append(document)
    assert documents[0] == documents[1]
    assert documents[0]["training"] is documents[0]["onnx"] is None
    assert listing(folder) == []


def test_plan_shows_the_table_and_a_line_for_every_stage(slimprune: Callable[..., Run], flags: list[str]) -> None:
    code, out, err = slimprune("plan", *flags)
    assert code == 0
    assert [re.sub(r"\d+\.\d s", "T", line) for line in err.splitlines()] == ["prove: T", "score: prospr, T"]
    assert re.search(r"^3 +16 -> \d+\b|   3 +16 -> \d+\b", out, re.MULTILINE)
    assert re.search(r"\nparameters +1,474 +[\d,]+ +-\d\d\.\d\d %\n", out)
    assert "top-1" not in out


def test_quiet_prints_nothing(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    assert slimprune("plan", *flags, "--quiet") == (0, "", "")


def test_bars_are_for_terminals_only(
    slimprune: Callable[..., Run], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, _, err = slimprune("plan", *flags)
    assert code == 0
    assert "━" in err
    shown = re.sub("\x1b[^a-zA-Z]*[a-zA-Z]", "", err)
    assert max(map(len, shown.splitlines())) <= 80


# What it makes -------------------------------------------------------------------------------------------------------


def test_compress_by_a_recipe_with_flags_over_it(
    folder: Path, slimprune: Callable[..., Run], settings: dict[str, Any]
) -> None:
    recipe = {**settings, "ratio": 0.3, "train_dense": True, "epochs": 7}
    Path("mine.yaml").write_text(json.dumps(recipe))
    over = ("--ratio", "0.5", "--no-train-dense", "--epochs", "1")
    code, out, err = slimprune("compress", "--config", "mine.yaml", *over, "--out", "new/a.onnx")
    assert code == 0
    assert [line.partition(":")[0] for line in err.splitlines()] == ["prove", "score", "train", "export"]
    assert out.startswith("new/a.onnx is written; a.slim, a.report.json and a.report.md lie beside it\n")
    assert [line.split()[0] for line in out.splitlines()[-6:]] == [
        "channels", "parameters", "MACs", "weights", "ONNX", "top-1",
    ]  # fmt: skip
    assert max(map(len, out.splitlines())) <= 80
    assert sorted(path.name for path in Path("new").iterdir()) == ["a.onnx", "a.report.json", "a.report.md", "a.slim"]

    Path("b.yaml").write_text(json.dumps({**recipe, "ratio": 0.5, "train_dense": False, "epochs": 1}))
    code, out, err = slimprune("run", "b.yaml", "--quiet")
    assert (code, out, err) == (0, "", "")
    weights = [Path(name, "weights.safetensors").read_bytes() for name in ("new/a.slim", "b.slim")]
    assert weights[0] == weights[1]


def test_json_is_the_only_thing_on_stdout_and_a_former_run_is_replaced(
    tmp_path: Path, flags: list[str], compressed: Compressed
) -> None:
    copied = tmp_path / "tiny.onnx"
    shutil.copy(compressed.onnx, copied)
    shutil.copytree(compressed.bundle, tmp_path / "tiny.slim")
    running = process("compress", *flags, "--seed", 1, "--out", copied, "--json")
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    document = json.loads(out)
    assert out.count("\n") == 1
    assert (document["recipe"]["seed"], document["baselines"]) == (1, [])
    assert document == json.loads((tmp_path / "tiny.report.json").read_text())
    assert [line.partition(":")[0] for line in err.splitlines()] == ["prove", "score", "train", "export"]
    assert listing(tmp_path) == sorted(
        ["tiny.onnx", "tiny.report.json", "tiny.report.md", "tiny.slim"]
        + [f"tiny.slim/{name}" for name in ("README.md", "metrics.jsonl", "slim.json", "weights.safetensors")]
    )
    assert copied.read_bytes() != compressed.onnx.read_bytes()
    code = cli.run(["verify", str(compressed.bundle), str(copied), "--trust-code"])
    assert code == 5


def test_what_user_code_prints_stays_off_stdout(slimprune: Callable[..., Run], flags: list[str], arch: str) -> None:
    talkative = arch.replace(":net", ":talkative")
    code, out, err = slimprune("plan", *flags, "--arch", talkative, "--json")
    assert code == 0
    assert json.loads(out)["recipe"]["arch"] == talkative
    assert "building 2 classes" in err


def test_grey_images_become_rgb(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    for part in ("train", "val"):
        for label, name in enumerate(("cats", "dogs")):
            (folder / "grey" / part / name).mkdir(parents=True)
            for number in range(8):
                pixels = np.full((16, 16), 20 * number + 100 * label, np.uint8)
                Image.fromarray(pixels).save(folder / "grey" / part / name / f"{number}.png")
    code, out, _ = slimprune("plan", *flags, "--data", "folder:grey", "--json")
    assert code == 0
    # 3x3 convolution of three channels with bias, norm; then as with the coloured images.
    assert json.loads(out)["params"]["dense"] == (27 + 1 + 2) * 8 + (72 + 1 + 2) * 16 + 17 * 2


def test_export_and_verify(folder: Path, slimprune: Callable[..., Run], compressed: Compressed) -> None:
    code, out, err = slimprune("export", compressed.bundle, "--trust-code", "--out", "new/x.onnx")
    assert (code, err) == (0, "")
    assert re.match(r"new/x\.onnx differs by at most \S+ on 41 samples, predictions agree to 100 %", out)
    assert listing(folder) == ["new", "new/x.onnx"]
    code, out, err = slimprune("verify", compressed.bundle, "new/x.onnx", "--trust-code", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out).keys() == {"path", "opset", "max_abs_diff", "top1_agreement", "samples", "batches"}
    assert slimprune("verify", compressed.bundle, compressed.onnx, "--trust-code", "--quiet") == (0, "", "")


@pytest.mark.parametrize("name", ["weights.safetensors", "slim.json", "README.md", "metrics.jsonl"])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
def test_a_bundle_with_a_flipped_byte_is_refused(
    folder: Path, slimprune: Callable[..., Run], compressed: Compressed, name: str, place: float
) -> None:
    shutil.copytree(compressed.bundle, "b.slim")
    altered = bytearray(Path("b.slim", name).read_bytes())
    altered[int(place * len(altered))] ^= 1
    Path("b.slim", name).write_bytes(altered)
    for command in (("verify", "b.slim", compressed.onnx), ("export", "b.slim", "--out", "x.onnx")):
        result = slimprune(*command, "--trust-code")
        assert "bundle b.slim" in error_line(result)
        assert result[0] == 5
    assert not Path("x.onnx").exists()


def tampered(source: Path, *, sealed: bool) -> bytes:
    """The file with one weight changed, saved by onnx; with slimprune's metadata or without any."""
    model = onnx.load(source)
    # The weights of the last layer: a change must show in the output.
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "8.weight")
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    if not sealed:
        del model.metadata_props[:]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("alter", "fragment"),
    [
        (lambda source: tampered(source, sealed=True), "SHA-256"),
        (lambda source: tampered(source, sealed=False), "expected outputs within 0.0001 of torch's"),
        (lambda source: source.read_bytes()[:-100], "x.onnx"),
        (lambda source: source.read_bytes()[:1000], "x.onnx"),
        (lambda source: b"", "x.onnx"),
    ],
    ids=["one weight", "one weight and no metadata", "end missing", "most missing", "empty"],
)
def test_an_altered_onnx_file_is_refused(
    folder: Path,
    slimprune: Callable[..., Run],
    compressed: Compressed,
    alter: Callable[[Path], bytes],
    fragment: str,
) -> None:
    Path("x.onnx").write_bytes(alter(compressed.onnx))
    result = slimprune("verify", compressed.bundle, "x.onnx", "--trust-code")
    assert fragment in error_line(result)
    assert result[0] == 5


# Interruption --------------------------------------------------------------------------------------------------------


def wait_for(running: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not happened():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_an_interrupted_run_goes_on_where_it_was(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    command = ("compress", *flags, "--epochs", 60, "--out", "new/a.onnx")
    running = process(*command)
    wait_for(running, lambda: any(Path("new").glob(".a.*/train/checkpoint.json")))
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    line = error_line((130, out, err))
    assert re.match(r"error: interrupted; the same command goes on from the last finished epoch, kept in new/\.a", line)
    assert [path.name for path in Path("new").iterdir() if not path.name.startswith(".")] == []

    stopped = len(next(Path("new").glob(".a.*/train/metrics.jsonl")).read_text().splitlines())
    assert 0 < stopped < 60
    assert slimprune(*command, "--quiet")[0] == 0
    assert slimprune(*command[:-1], "straight.onnx", "--quiet")[0] == 0
    assert [path.name for path in Path("new").iterdir() if path.name.startswith(".")] == []
    resumed, straight = (Path(name, "weights.safetensors").read_bytes() for name in ("new/a.slim", "straight.slim"))
    assert resumed == straight


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_run_that_is_terminated_before_it_trains_leaves_nothing(folder: Path, flags: list[str]) -> None:
    running = process("compress", *flags, "--draws", 100_000, "--out", "new/a.onnx")
    wait_for(running, lambda: any(Path("new").glob(".a.*/fingerprint")))
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert error_line((130, out, err)) == "error: interrupted"
    assert listing(folder) == []
