"""Networks of ultralytics by their names."""

import os
import subprocess
import sys

import pytest
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.models import InputSpec, as_yolo, build, is_detector, task_of
from slimprune.models.ultralytics_models import names

INPUTS = InputSpec(3, 64, 64, 2)


@pytest.fixture
def library():
    """The library, imported as the program does."""
    pytest.importorskip("ultralytics", reason="needs the extra ultralytics")
    return build("yolo:yolov8n", INPUTS)


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov5n", "yolov6n", "yolov8n", "yolov9t", "yolov10n", "yolo11n"])
def test_networks_have_the_classes_of_the_data(library, name):
    model = build(f"yolo:{name}", INPUTS)
    assert is_detector(model)
    assert model.model[-1].nc == 2
    assert task_of(f"yolo:{name}") == "detection"


def test_sizes_are_those_of_the_letters(library):
    widths = {size: build(f"yolo:yolo11{size}", INPUTS).model[0].conv.out_channels for size in "ns"}
    assert widths == {"n": 64 // 4, "s": 64 // 2}  # a quarter and a half of the width


def test_every_name_of_the_library_is_known_with_its_size(library):
    found = names()
    assert {"yolov8n", "yolov8x-p6", "yolo11m", "yolo26n", "yolov9c", "yolov10b", "rtdetr-l", "yolo11n-seg"} <= {*found}
    assert not {"yolo11", "yolov8-p6"} & {*found}
    assert found["yolov8x-p6"][1] == found["yolo11x"][1] == "x"
    assert found["yolov9c"][1] == ""


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("yolo11", UsageError, "such as yolo:yolo11n, got 'yolo:yolo11' .did you mean yolo:yolo11"),
        ("yolo11n.pt", UsageError, "got 'yolo:yolo11n.pt' .did you mean yolo:yolo11n"),
        ("", UsageError, "got 'yolo:'"),
        ("yolo11n-seg", UnsupportedModelError, "got yolo:yolo11n-seg with the head Segment"),
        ("rtdetr-l", UnsupportedModelError, "got yolo:rtdetr-l with the head RTDETRDecoder"),
        ("yolov8n-world", UnsupportedModelError, "got yolo:yolov8n-world with the head WorldDetect"),
    ],
)
def test_other_names_are_refused_in_one_line(library, name, error, told):
    with pytest.raises(error, match=told):
        build(f"yolo:{name}", INPUTS)


def test_without_the_library_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(UsageError, match=r"found none: pip install 'slimprune\[ultralytics\]'"):
        build("yolo:yolo11n", INPUTS)


def test_only_a_network_of_the_library_is_presented_as_one():
    with pytest.raises(UnsupportedModelError, match="a YOLO of ultralytics, got Sequential"):
        as_yolo(nn.Sequential(), ())


IMPORTED = """
import os
from slimprune.models import InputSpec, build
before = dict(os.environ)
build("yolo:yolov8n", InputSpec(3, 64, 64, 2))
from ultralytics.utils import AUTOINSTALL, ONLINE
print(before == dict(os.environ), AUTOINSTALL, ONLINE)
"""


def test_the_library_calls_nobody_installs_nothing_and_writes_nothing_at_home(library, tmp_path):
    own = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED], env={**os.environ, **own}, capture_output=True, text=True, check=True
    )
    assert run.stdout == "True False False\n"
    assert [*tmp_path.iterdir()] == []
