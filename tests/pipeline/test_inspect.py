"""`slimprune inspect`: what is printed, what is written, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import slimprune
from slimprune.errors import UsageError
from slimprune.pipeline.inspect import inspect_named
from tests.commands import Run, error_line, listing

HEAD = "input 3 x 16 x 16: 1,474 parameters, 129,056 MACs, 26 channels"


def test_the_tree_is_printed_and_the_files_are_written(
    folder: Path, slimprune: Callable[..., Run], arch: str, data: str
) -> None:
    files = ("--html", "new/a.html", "--svg", "a.svg", "--json", "a.json")
    code, out, err = slimprune("inspect", "--arch", arch, "--data", data, *files)
    assert code == 0, err
    first, *others = out.splitlines()
    assert [first, *others[:2]] == ["a.json is written", "new/a.html is written", "a.svg is written"]
    assert HEAD in " ".join(others)
    assert "└─ read by    3.weight[1]" in others
    assert listing(folder) == ["a.json", "a.svg", "new", "new/a.html"]
    document = json.loads(Path("a.json").read_text())
    assert document["model"]["name"] == arch
    assert [group["id"] for group in document["groups"]] == ["0", "3", "8"]
    assert Path("a.svg").read_text().startswith("<svg ")


def test_json_on_stdout_is_alone(slimprune: Callable[..., Run], arch: str) -> None:
    talkative = arch.replace(":net", ":talkative")
    code, out, err = slimprune("inspect", "--arch", talkative, "--shape", "1,8,8", "--classes", 3, "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert (document["model"]["inputs"], document["groups"][-1]["width"]) == ([[1, 8, 8]], 3)
    assert "building 3 classes" in err


def test_quiet_prints_nothing(folder: Path, slimprune: Callable[..., Run], arch: str) -> None:
    assert slimprune("inspect", "--arch", arch, "--shape", "3,8,8", "--svg", "a.svg", "--quiet") == (0, "", "")
    assert listing(folder) == ["a.svg"]


def test_layers_are_protected_as_by_compress(slimprune: Callable[..., Run], arch: str) -> None:
    flags = ("--arch", arch, "--shape", "3,8,8", "--protect", "0,3")
    code, out, _ = slimprune("inspect", *flags, "--quiet", "--json", "-")
    assert code == 0
    reasons = [group["protected_reason"] for group in json.loads(out)["groups"]]
    assert reasons == ["asked for by --protect 0", "asked for by --protect 3", "model output"]


def test_a_model_of_which_nothing_can_be_removed_is_shown_all_the_same(
    folder: Path, slimprune: Callable[..., Run]
) -> None:
    Path("whole.py").write_text("from torch import nn\ndef build(): return nn.Conv2d(3, 8, 3)\n")
    code, out, _ = slimprune("inspect", "--arch", "whole.py:build", "--shape", "3,8,8", "--html", "whole.html")
    assert code == 0
    assert "1 group of channels, 0 may be narrowed; 1 stays whole" in out
    assert "├─ stays whole  model output" in out
    assert "whole: model output" in Path("whole.html").read_text()


def test_a_model_without_layers_is_shown_all_the_same(folder: Path, slimprune: Callable[..., Run], arch: str) -> None:
    bare = arch.replace(":net", ":bare")
    code, out, err = slimprune("inspect", "--arch", bare, "--shape", "3,8,8", "--svg", "bare.svg")
    assert code == 0, err
    assert "0 groups of channels, 0 may be narrowed" in out


def test_an_architecture_for_segmentation_needs_no_masks() -> None:
    found = inspect_named(arch="unet:depth=1,width=4", image_size=16)
    assert (found.groups[-1].width, found.inputs) == (1, [(3, 16, 16)])


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        ("", 2, "expected an architecture (--arch), got none"),
        ("--arch vg19", 2, "got 'vg19' (did you mean vgg19"),
        ("--arch {arch} --shape 3,8", 2, "expected --shape C,H,W such as 3,224,224, got '3,8'"),
        ("--arch {arch} --shape 3,8,x", 2, "expected --shape C,H,W such as 3,224,224, got '3,8,x'"),
        ("--arch {arch} --shape 3,8,0", 2, "expected channels, height, width and classes of at least 1"),
        ("--arch {arch} --protect body", 2, "--protect expects the name or pattern of a layer"),
        ("--arch {arch} --html .", 2, "expected to write a file, got the folder ."),
        ("--arch {arch} --json a.json --html file/a.html", 2, "cannot write file/a.html: file is no folder"),
        ("--arch {arch} --svg a --html ./a", 2, "expected a file for every form, got a, a"),
        ("--arch {arch} --ratio 0.5", 2, "No such option"),
        ("--arch {arch} --data digts", 2, "expected a data set (digits, cifar10, "),
        (
            "--arch {picky} --shape 3,8,8 --html a.html",
            4,
            "fails on an input of shape [(2, 3, 8, 8)]: no images",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(
    folder: Path, slimprune: Callable[..., Run], arch: str, arguments: str, code: int, fragment: str
) -> None:
    Path("file").touch()
    result = slimprune("inspect", *arguments.format(arch=arch, picky=arch.replace(":net", ":picky")).split())
    assert fragment in error_line(result)
    assert (result[0], listing(folder)) == (code, ["file"])


def test_any_module_can_be_inspected() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    calls: list[tuple[str, int, int, str]] = []
    found = slimprune.inspect(model, torch.zeros(1, 3, 8, 8), progress=lambda *call: calls.append(call))
    assert "Sequential, input 3 x 8 x 8: 516 parameters" in str(found)
    assert calls[-1] == ("prove", 4, 4, "")
    with pytest.raises(UsageError, match="expects the name or pattern of a layer"):
        slimprune.inspect(model, torch.zeros(1, 3, 8, 8), protect=["body"])
