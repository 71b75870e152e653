"""The command line as a new user meets it: what it prints, what it makes, how it stops."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from slimprune import cli, pipeline
from slimprune.recipe import PANELS, Recipe
from tests.commands import Run, error_line, listing
from tests.conftest import Compressed

BUNDLE = (
    "README.md", "architecture.py", "config.json", "metrics.jsonl", "preprocessor_config.json", "slim.json",
    "weights.safetensors",
)  # fmt: skip


def process(*arguments: object, **keywords: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "slimprune", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **keywords)


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


@pytest.mark.parametrize("command", ["compress", "plan", "run"])
def test_every_field_of_the_recipe_is_a_flag(
    slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # The help of a narrow terminal cuts names.
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, out, _ = slimprune(command, "--help")
    assert code == 0
    for name, field in Recipe.model_fields.items():
        assert re.search(rf"--{(field.alias or name).replace('_', '-')}\b", out), name
    titles = [line.split()[1].lower() for line in out.splitlines() if line.startswith("╭─ ")]
    assert [title for title in titles if title in PANELS] == list(PANELS)
    assert "--also" not in out
    assert "{}" not in out
    assert "what the ratio counts (params, macs, channels, latency; default: params)" in out
    assert "training epochs (default: 200, 100 for segmentation, coco and yolo, 12 for digits; a fifth of that" in out


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("archs", "resnet18"),
        ("data", "digits"),
        ("criteria", "prospr"),
        ("rules", "uniform"),
        ("rules", "erk"),
        ("engines", "torch-captured"),
    ],
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
    code, out, err = slimprune("compress", "--config", "mine.yaml", "--trust-code", *over, "--out", "new/a.onnx")
    assert code == 0
    assert [line.partition(":")[0] for line in err.splitlines()] == ["prove", "score", "train", "export"]
    assert out.startswith("new/a.onnx is written; a.slim and a.report.html, .json and .md lie beside it\n")
    assert [line.split()[0] for line in out.splitlines()[-6:]] == [
        "channels", "parameters", "MACs", "weights", "ONNX", "top-1",
    ]  # fmt: skip
    assert max(map(len, out.splitlines())) <= 80
    names = ["a.onnx", "a.report.html", "a.report.json", "a.report.md", "a.slim"]
    assert sorted(path.name for path in Path("new").iterdir()) == names

    Path("b.yaml").write_text(json.dumps({**recipe, "ratio": 0.5, "train_dense": False, "epochs": 1}))
    code, out, err = slimprune("run", "b.yaml", "--trust-code", "--quiet")
    assert (code, out, err) == (0, "", "")
    assert slimprune("run", "mine.yaml", "--trust-code", *over, "--out", "c.slim", "--quiet") == (0, "", "")
    weights = [Path(name, "weights.safetensors").read_bytes() for name in ("new/a.slim", "b.slim", "c.slim")]
    assert weights[0] == weights[1] == weights[2]


def test_further_limits_are_the_same_from_flags_files_and_python(
    folder: Path, slimprune: Callable[..., Run], settings: dict[str, Any], flags: list[str]
) -> None:
    def hash_of(*arguments: object) -> str:
        code, out, err = slimprune("plan", *arguments, "--json")
        assert code == 0, err
        return str(json.loads(out)["recipe"]["hash"])

    expected = pipeline.plan(**settings, also={"macs": 0.8}).recipe.hash
    assert hash_of(*flags, "--and", "macs=0.8") == expected
    for name in ("and", "also"):
        Path("mine.yaml").write_text(json.dumps({**settings, name: {"macs": 0.8}}))
        assert hash_of("--config", "mine.yaml", "--trust-code") == expected
        # A flag takes the place of the file's limits, it does not add to them.
        Path("mine.yaml").write_text(json.dumps({**settings, name: {"macs": 0.6, "channels": 0.1}}))
        assert hash_of("--config", "mine.yaml", "--trust-code", "--and", "macs=0.8") == expected


def test_flags_for_what_the_slim_network_starts_from(
    folder: Path, slimprune: Callable[..., Run], flags: list[str]
) -> None:
    start = ("--when", "rewind", "--rewind-step", 2, "--dense-epochs", 2, "--init", "rescale", "--twin", "shuffle")
    code, out, err = slimprune("compress", *flags, *start, "--and", "macs=0.8", "--out", "a.onnx", "--json")
    assert code == 0
    assert [line.partition(":")[0] for line in err.splitlines()] == ["prove", "train dense", "score", "train", "export"]
    document = json.loads(out)
    recipe = document["recipe"]
    assert [recipe[name] for name in ("when", "rewind_step", "dense_epochs", "init", "twin", "and")] == [
        "rewind", 2, 2, "rescale", "shuffle", {"macs": 0.8},
    ]  # fmt: skip
    assert document["baselines"][0]["epochs"] == 2
    assert document["macs"]["removed"] >= 0.8
    assert slimprune("verify", "a.slim", "a.onnx", "--trust-code", "--quiet") == (0, "", "")


def test_weights_from_a_file(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    save_file({"0.weight": torch.ones(8, 3, 3, 3), "0.bias": torch.ones(8)}, "backbone.safetensors")
    (code, filled, _), (_, plain, _) = (
        slimprune("plan", *flags, *more, "--json") for more in (("--weights", "backbone.safetensors"), ())
    )
    assert code == 0
    recipes = [json.loads(out)["recipe"] for out in (filled, plain)]
    assert [recipe["weights"] for recipe in recipes] == ["backbone.safetensors", None]
    assert recipes[0]["hash"] != recipes[1]["hash"]


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
        ["tiny.onnx", "tiny.report.html", "tiny.report.json", "tiny.report.md", "tiny.slim"]
        + [f"tiny.slim/{name}" for name in BUNDLE]
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
    assert json.loads(out).keys() == {
        "path", "opset", "max_abs_diff", "top1_agreement", "samples", "batches", "size_step", "sizes",
    }  # fmt: skip
    assert slimprune("verify", compressed.bundle, compressed.onnx, "--trust-code", "--quiet") == (0, "", "")


def test_bench(folder: Path, slimprune: Callable[..., Run], compressed: Compressed) -> None:
    report = folder / "tiny.report.json"
    shutil.copy(compressed.onnx.with_suffix(".report.json"), report)
    command = ("bench", compressed.bundle, "--trust-code", "--threads", 1, "--samples", 8, "--seconds", 0.01)
    code, out, err = slimprune(*command, "--batch", "2,4", "--engine", "torch", "--report", report, "--out", "b.json")
    assert code == 0, err
    assert [line.partition(":")[0] for line in err.splitlines()] == ["torch 2", "torch 4"]
    assert re.search(r"(no difference|times (faster|slower)) \(8 pairs\), \d+\.\d s$", err, re.MULTILINE)
    assert out.startswith("tiny.slim against dense, inputs synthetic")
    assert [line.split()[:2] for line in out.splitlines()[-2:]] == [["torch", "2"], ["torch", "4"]]
    assert listing(folder) == ["b.json", "b.md", "tiny.report.html", "tiny.report.json", "tiny.report.md"]
    assert len(json.loads(report.read_text())["latency"]) == 2

    code, out, err = slimprune(*command, "--batch", "2", "--engine", "train", "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)["latency"][0]["engine"] == "train"


# Interruption --------------------------------------------------------------------------------------------------------


def wait_for(running: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not happened():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_an_interrupted_run_goes_on_where_it_was(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    command = ("compress", *flags, "--epochs", 100, "--out", "new/a.slim")
    running = process(*command)
    wait_for(running, lambda: any(file.stat().st_size for file in Path("new").glob(".a.*/train/metrics.jsonl")))
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    line = error_line((130, out, err))
    assert re.match(r"error: interrupted; the same command goes on from what was done, kept in new/\.a", line)
    assert [path.name for path in Path("new").iterdir() if not path.name.startswith(".")] == []

    stopped = len(next(Path("new").glob(".a.*/train/metrics.jsonl")).read_text().splitlines())
    assert 0 < stopped < 100
    assert slimprune(*command, "--quiet")[0] == 0
    assert slimprune(*command[:-1], "straight.slim", "--quiet")[0] == 0
    assert [path.name for path in Path("new").iterdir() if path.name.startswith(".")] == []
    resumed, straight = (Path(name, "weights.safetensors").read_bytes() for name in ("new/a.slim", "straight.slim"))
    assert resumed == straight


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_widths_learned_by_a_run_that_was_killed_are_those_of_one_that_was_not(
    folder: Path, slimprune: Callable[..., Run], flags: list[str]
) -> None:
    """Killed once while weights are shared and once while widths are searched."""
    command = ("compress", *flags, "--rule", "learned", "--of", "macs", "--sharing-epochs", 4, "--out", "new/a.slim")
    for file in ("shared/checkpoint.json", "generations.json"):
        running = process(*command)
        wait_for(running, lambda file=file: any(Path("new").glob(f".a.*/{file}")))
        running.kill()
        running.communicate(timeout=60)
        assert not any(Path("new").glob(".a.*/plan.json"))
    assert slimprune(*command, "--quiet")[0] == 0
    assert slimprune(*command[:-1], "straight.slim", "--quiet")[0] == 0
    bundles = [Path(name) for name in ("new/a.slim", "straight.slim")]
    resumed, straight = ((bundle / "weights.safetensors").read_bytes() for bundle in bundles)
    assert resumed == straight
    resumed_rule, straight_rule = (json.loads((bundle / "slim.json").read_text())["plan"]["rule"] for bundle in bundles)
    assert resumed_rule == straight_rule


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_run_that_is_terminated_before_it_trains_leaves_nothing(folder: Path, flags: list[str]) -> None:
    running = process("compress", *flags, "--draws", 100_000, "--out", "new/a.onnx")
    wait_for(running, lambda: any(Path("new").glob(".a.*/fingerprint")))
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 143, err
    assert error_line((143, out, err)) == "error: interrupted"
    assert listing(folder) == []
