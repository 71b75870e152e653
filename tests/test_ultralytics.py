"""The code on YOLO in the page on detection, where ultralytics is installed."""

import runpy
from contextlib import chdir
from pathlib import Path

import pytest

from tests.pages import NOT_RUN, ROOT, blocks


def test_yolo_is_slimmed_trained_by_its_own_losses_and_predicts(tmp_path, capsys):
    pytest.importorskip("ultralytics", reason="needs ultralytics")
    pytest.importorskip("pycocotools", reason="needs the extra detection")
    (block,) = (one for one in blocks(ROOT / "docs" / "detection.md") if one.title.startswith(NOT_RUN))
    draw = runpy.run_path(str(Path(ROOT, "benchmarks", "scenes.py")))["draw_scenes"]
    draw(tmp_path / "scenes", counts={"train": 8, "val": 4})
    found: dict[str, object] = {}
    with chdir(tmp_path):
        exec(compile(block.text, "detection.md", "exec"), found)
    dense, slim = found["plan"].dense, found["plan"].slim
    assert slim.macs <= 0.5 * dense.macs
    assert found["slim"].proof.passed
    assert type(found["yolo"].model).__name__ == "DetectionModel"
    assert capsys.readouterr().out.split()[-1] == "4"  # numbers of a box that `predict` found, or of none
