from pathlib import Path

import pytest
from torch import nn

from slimprune.errors import SlimpruneError, UnsupportedModelError, UsageError
from slimprune.models import InputSpec, build
from slimprune.registry import code_file, names_code

INPUTS = InputSpec(channels=2, height=8, width=8, classes=5)

CODE = """
import torch
from torch import nn

def both(in_channels, num_classes):
    return nn.Conv2d(in_channels, num_classes, 1)

def keyword_only(*, num_classes=10):
    return nn.Linear(4, num_classes)

def neither():
    return nn.Linear(4, 3)

def optional(width=7, *rest, **settings):
    assert not rest and settings == {"num_classes": 5, "in_channels": 2}
    return nn.Linear(4, width)

def handing_on(**settings):
    return deeper(**settings)

def deeper(num_classes=10, **more):
    return keyword_only(num_classes=num_classes, **more)

def closed(**settings):
    return neither(**settings)

def wrong_inside(**settings):
    return nn.Linear(4, settings["num_classes"], width=3)

def mistaken(**settings):
    return nn.Linear("4", settings["num_classes"])

def demanding(num_classes, depth, *, width):
    return nn.Linear(4, num_classes)

def positional(num_classes, /):
    return nn.Linear(4, num_classes)

def failing():
    raise ValueError("no such\\n  depth")

def leaving():
    raise SystemExit(3)

def empty():
    return None

instance = nn.Linear(2, 2)
number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "networks.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize(
    ("factory", "weight"),
    [
        ("both", (5, 2, 1, 1)),
        ("keyword_only", (5, 4)),
        ("neither", (3, 4)),
        ("optional", (7, 4)),
        ("handing_on", (5, 4)),
        ("closed", (3, 4)),
    ],
)
def test_a_factory_is_given_what_it_names(file: Path, factory: str, weight: tuple[int, ...]):
    assert build(f"{file}:{factory}", INPUTS).weight.shape == weight


REFUSED = [
    ("demanding", UnsupportedModelError, "to require at most num_classes and in_channels, got depth, width"),
    ("positional", UnsupportedModelError, "to require at most num_classes and in_channels, got num_classes"),
    ("failing", UnsupportedModelError, "raised ValueError: no such depth"),
    ("wrong_inside", UnsupportedModelError, "got an unexpected keyword argument 'width'"),
    ("mistaken", UnsupportedModelError, "raised TypeError: "),
    ("leaving", UnsupportedModelError, "raised SystemExit: 3"),
    ("empty", UnsupportedModelError, "to return an nn.Module, got NoneType"),
    ("instance", UnsupportedModelError, "to be a factory, got a Linear object"),
    ("number", UnsupportedModelError, "to be a factory, got a int object"),
    ("absent", UsageError, "expected a factory 'absent' in "),
]


@pytest.mark.parametrize(("factory", "error", "message"), REFUSED)
def test_what_is_refused(file: Path, factory: str, error: type[SlimpruneError], message: str):
    with pytest.raises(error) as caught:
        build(f"{file}:{factory}", INPUTS)
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_factory_of_torchvision_gets_the_classes_of_the_data():
    assert build("torchvision.models:resnet18", INPUTS).fc.out_features == 5


def test_a_failure_is_chained(file: Path):
    with pytest.raises(UnsupportedModelError) as caught:
        build(f"{file}:failing", INPUTS)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_file_can_be_loaded_again_after_a_change(file: Path):
    assert build(f"{file}:neither", INPUTS).out_features == 3
    assert build(f"{file}:neither", INPUTS).out_features == 3
    file.write_text("from torch import nn\n\ndef neither():\n    return nn.Linear(4, 123456)\n")
    assert build(f"{file}:neither", INPUTS).out_features == 123456


def test_a_file_can_import_its_neighbours_and_define_dataclasses(tmp_path: Path):
    (tmp_path / "neighbour_of_a_test.py").write_text("WIDTH = 9\n")
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from neighbour_of_a_test import WIDTH\n"
        "from torch import nn\n"
        "@dataclass\n"
        "class Settings:\n"
        "    width: int = WIDTH\n"
        "def make():\n"
        "    return nn.Linear(Settings().width, 1)\n"
    )
    assert build(f"{tmp_path / 'net.py'}:make", INPUTS).in_features == 9


def test_modules_of_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "package_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(CODE)
    (package / "broken.py").write_text("import surely_not_installed\n")
    (package / "unparsable.py").write_text("def (:\n")
    monkeypatch.chdir(tmp_path)
    assert isinstance(build("package_of_a_test.nets:both", INPUTS), nn.Conv2d)
    with pytest.raises(
        UnsupportedModelError, match="raised ModuleNotFoundError: No module named 'surely_not_installed'"
    ):
        build("package_of_a_test.broken:net", INPUTS)
    with pytest.raises(UnsupportedModelError, match=r"importing 'package_of_a_test.unparsable' raised SyntaxError"):
        build("package_of_a_test.unparsable:net", INPUTS)
    with pytest.raises(UsageError, match=r"found no module 'package_of_a_test.absent'"):
        build("package_of_a_test.absent:net", INPUTS)


def test_installed_modules():
    assert build("torch.nn:Identity", INPUTS) is not None
    with pytest.raises(UsageError, match=r"got 'no_such_package.nets:net'; found no module 'no_such_package'$"):
        build("no_such_package.nets:net", INPUTS)


def test_files_that_cannot_be_loaded(tmp_path: Path):
    with pytest.raises(UsageError, match=r"expected a Python file, found none at '.*absent.py'"):
        build(f"{tmp_path / 'absent.py'}:net", INPUTS)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(
        UnsupportedModelError, match=r"importing '.*broken.py' raised ZeroDivisionError: division by zero"
    ):
        build(f"{tmp_path / 'broken.py'}:net", INPUTS)


def test_a_file_is_executed_once_as_long_as_it_does_not_change(tmp_path: Path):
    file, seen = tmp_path / "counted.py", tmp_path / "seen"
    code = f"from torch import nn\nwith open({str(seen)!r}, 'a') as file:\n    file.write('x')\n"
    code += "def net():\n    return nn.Linear(1, 1)\n"
    for text, executions in ((code, 1), (code, 1), (code + "# changed\n", 2)):
        file.write_text(text)
        build(f"{file}:net", INPUTS)
        assert seen.read_text() == "x" * executions


def test_errors_of_slimprune_pass_a_factory(tmp_path: Path):
    (tmp_path / "net.py").write_text("import slimprune\ndef net():\n    return slimprune.Budget(2)\n")
    with pytest.raises(UsageError, match="got 2"):
        build(f"{tmp_path / 'net.py'}:net", INPUTS)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("net.py:build", True),
        ("folder/net.py:build", True),
        ("package.module:build", True),
        ("unet:depth=3", False),
        ("unet", False),
        (":build", False),
        ("net.py:", False),
        ("folder:/some/where", False),
    ],
)
def test_the_form_of_code(name: str, code: bool):
    assert names_code(name) == code


def test_the_file_of_code_is_found_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for file in ("one_of_a_test.py", "other_of_a_test.py"):
        (tmp_path / file).write_text("1 / 0\n")
    assert code_file("one_of_a_test.py:x") == Path("one_of_a_test.py")
    assert code_file("other_of_a_test:x") == tmp_path / "other_of_a_test.py"
    assert [code_file(name) for name in ("none.py:x", "none_of_a_test:x", "none.of_a_test:x", "uniform")] == [None] * 4
