import argparse
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from slimprune.errors import DataError
from slimprune.models import read_weights

ONES = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


def assert_ones(found: Mapping[str, Tensor]) -> None:
    assert list(found) == list(ONES)
    assert all(torch.equal(found[name], tensor) for name, tensor in ONES.items())


@pytest.mark.parametrize("ending", ["pth", "pt", "pth.tar", "ckpt", "bin"])
def test_files_of_torch(tmp_path: Path, ending: str):
    torch.save(ONES, tmp_path / f"w.{ending}")
    assert_ones(read_weights(tmp_path / f"w.{ending}"))


def test_files_of_torch_before_1_6(tmp_path: Path):
    torch.save(ONES, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert_ones(read_weights(tmp_path / "w.pth"))


OTHER = {"a.weight": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    "checkpoint",
    [
        *({"epoch": 3, name: ONES} for name in ("state_dict", "model", "model_state_dict", "net", "network", "params")),
        *({"epoch": 3, name: ONES} for name in ("ema", "model_ema", "state_dict_ema")),
        {"epoch": torch.tensor(3), "model": ONES},
        {"model": {"state_dict": ONES, "name": "resnet"}},
        {"state_dict": ONES, "state_dict_ema": OTHER},
        {"ema": OTHER, "model": ONES},
        {"model": "resnet18", "state_dict": ONES},
        {"state_dict": {**ONES, "a._extra_state": None, "version": 2}},
        {"model": ONES, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": []}},
        {"model": ONES, "args": argparse.Namespace(lr=0.1, out=Path("runs")), "best": np.float64(93.5)},
    ],
)
def test_the_state_dict_within_a_checkpoint(tmp_path: Path, checkpoint: dict[str, Any]):
    torch.save(checkpoint, tmp_path / "w.pth")
    assert_ones(read_weights(tmp_path / "w.pth"))


def test_parameters_are_plain_tensors(tmp_path: Path):
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path / "w.pth")
    assert not read_weights(tmp_path / "w.pth")["a"].requires_grad


@pytest.mark.parametrize("given", [".", "model.safetensors.index.json"])
def test_sharded_safetensors(tmp_path: Path, given: str):
    for number, (name, tensor) in enumerate(ONES.items()):
        save_file({name: tensor}, tmp_path / f"model-{number}.safetensors")
    index = {"weight_map": {name: f"model-{number}.safetensors" for number, name in enumerate(ONES)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_ones(read_weights(tmp_path / given))


def test_a_folder_with_one_file(tmp_path: Path):
    save_file(ONES, tmp_path / "model.safetensors")
    assert_ones(dict(sorted(read_weights(tmp_path).items(), reverse=True)))
    save_file(ONES, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="expected one safetensors file in the folder or an index, got 2"):
        read_weights(tmp_path)


class Trap:
    """A pickle of this would write the file `canary`."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (str(self.canary), os.O_CREAT)


@pytest.mark.parametrize(
    "dump",
    [
        torch.save,
        lambda content, file: torch.save(content, file, _use_new_zipfile_serialization=False),
        lambda content, file: file.write_bytes(pickle.dumps(content, protocol=2)),
        lambda content, file: file.write_bytes(pickle.dumps(content)),
    ],
)
def test_code_in_a_file_is_refused_in_one_line_and_not_run(tmp_path: Path, dump: Callable[[Any, Path], Any]):
    canary, file = tmp_path / "canary", tmp_path / "w.pth"
    pickle.loads(pickle.dumps(Trap(canary)))
    assert canary.exists()
    canary.unlink()
    dump({"state_dict": ONES, "more": Trap(canary)}, file)
    with pytest.raises(DataError, match=r"w\.pth cannot be read: it (contains code|is damaged)") as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


def test_a_whole_pickled_module_is_refused_and_named(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"objects \(torch\.nn\.modules\.linear\.Linear\), none of which was run"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_truncated_files_are_one_line(tmp_path: Path, legacy: bool, share: float):
    file = tmp_path / "w.pth"
    torch.save(ONES, file, _use_new_zipfile_serialization=not legacy)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"^weights .*w\.pth cannot be read: .") as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "loss": 0.1}, "expected a state dict, or one under state_dict, .*got the entries epoch, loss"),
        ({}, "got the entries none"),
        ([torch.ones(2)], "got a list"),
        (torch.ones(2), "got a Tensor"),
    ],
)
def test_files_without_a_state_dict(tmp_path: Path, content: Any, message: str):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match=message):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.onnx", b"", r"expected a file .safetensors, .pth, .pt, .tar, .ckpt, .bin, got .onnx"),
        ("w", b"", "got -"),
        ("w.pth", None, "w.pth cannot be read: No such file or directory"),
        ("w.pth", b"", "w.pth cannot be read: it is empty, or ends too early"),
        ("w.pth", b"hello\nworld\n", "w.pth cannot be read: it is damaged, or not a file of torch.save"),
        ("w.safetensors", b"garbage", "w.safetensors cannot be read: "),
        ("w.index.json", b"[]", "w.index.json cannot be read: expected an index of safetensors files"),
        ("w.index.json", b'{"weight_map": {"a": "b.safetensors"}}', "b.safetensors cannot be read: No such file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_weights(tmp_path / name)
