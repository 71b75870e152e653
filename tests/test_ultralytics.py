"""The code on YOLO in the page on detection, where ultralytics is installed."""

import runpy
import shlex
from contextlib import chdir
from pathlib import Path

import pytest

import slimprune
from slimprune.cli import run
from tests.pages import NOT_RUN, ROOT, blocks

SHORT = ("--epochs", "1", "--batch-size", "4", "--score-batch", "2", "--draws", "1")


@pytest.mark.slow
def test_the_page_s_command_gives_a_network_that_the_library_uses(tmp_path, capsys):
    pytest.importorskip("ultralytics", reason="needs the extra ultralytics")
    pytest.importorskip("pycocotools", reason="needs the extra detection")
    page = blocks(ROOT / "docs" / "detection.md")
    (code,) = (one for one in page if one.title.startswith(NOT_RUN))
    (command,) = (one.text for one in page if one.language == "sh" and "yolo:" in one.text)
    draw = runpy.run_path(str(Path(ROOT, "benchmarks", "scenes.py")))["draw_scenes"]
    draw(tmp_path / "scenes", counts={"train": 8, "val": 4})
    with chdir(tmp_path):
        assert run([*shlex.split(command)[1:], *SHORT]) == 0
        capsys.readouterr()
        exec(compile(code.text.replace("0.png", "000.png"), "detection.md", "exec"), {})
    assert capsys.readouterr().out.split()[0] == "4"  # numbers of a box that `predict` found, or of none
    assert {file.name for file in tmp_path.iterdir()} > {"y.onnx", "y.slim", "slim.pt"}
    macs = slimprune.surgery.read(tmp_path / "y.slim").plan
    assert macs.slim.macs <= 0.5 * macs.dense.macs
