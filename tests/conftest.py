"""A user's architecture file, tiny data sets, and one compressed network that many tests look at."""

import gc
import importlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from slimprune import cli, pipeline
from slimprune.results import Report
from tests.commands import Run

sys.dont_write_bytecode = True  # tests list folders from which a user's file was imported

ARCHITECTURES = """
from torch import nn


def net(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )


def raises():
    raise RuntimeError("weights are on another disk")


def no_module():
    return 3


def greedy(depth):
    return net(2, 3)


def frozen(num_classes, in_channels):
    return net(num_classes, in_channels).requires_grad_(False)


def one_class(in_channels):
    return net(1, in_channels)


def bare(num_classes):
    return nn.Flatten()


def talkative(num_classes, in_channels):
    print("building", num_classes, "classes")
    return net(num_classes, in_channels)


class Mapped(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, num_classes, 1)

    def forward(self, images):
        return {"out": self.head(self.body(images).relu())}


def mapped(num_classes):
    return Mapped(num_classes)


class Picky(nn.Module):
    def forward(self, images):
        raise OSError("no images of this kind, please")


def picky():
    return Picky()
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Several threads on tiny networks mostly wait for each other, most of all where other work runs beside."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def translations_are_read_once() -> None:
    """torch.onnx parses onnxscript's thousand functions at every export, which takes a second; here it keeps them."""
    with suppress(ImportError, AttributeError):  # no public interface, so other versions may be slow again
        apis = importlib.import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
        apis.get_torchlib_ops = cache(apis.get_torchlib_ops)


@pytest.fixture(scope="session", autouse=True)
def libraries_are_no_garbage(translations_are_read_once: None) -> None:
    """Scoring collects garbage before it measures memory; with half a million objects of libraries that takes long."""
    gc.collect()
    gc.freeze()


def tiny_images(count: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, channels, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="session")
def arch(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The architecture that a user brings: two convolutions and a linear layer."""
    file = tmp_path_factory.mktemp("arch") / "tiny.py"
    file.write_text(ARCHITECTURES)
    return f"{file}:net"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """40 + 40 images 16x16 of two classes."""
    folder = tmp_path_factory.mktemp("tensors")
    for part, count in (("train", 40), ("test", 41)):
        save_file({"images": tiny_images(count), "labels": torch.arange(count) % 2}, folder / f"{part}.safetensors")
    return f"tensors:{folder}"


@pytest.fixture(scope="session")
def masked_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """16 + 16 images 16x16 with masks of what is bright."""
    folder = tmp_path_factory.mktemp("masks")
    for part, count in (("train", 16), ("test", 17)):
        images = tiny_images(count)
        masks = (images[:, :1] > 127).to(torch.uint8)
        save_file({"images": images, "masks": masks}, folder / f"{part}.safetensors")
    return f"tensors:{folder}"


@pytest.fixture(scope="session")
def settings(arch: str, data: str) -> dict[str, Any]:
    """A recipe that takes two seconds; `out` is missing."""
    return {"arch": arch, "data": data, "ratio": 0.5, "epochs": 1, "draws": 1, "batch_size": 8, "score_batch": 8}


@dataclass(frozen=True)
class Compressed:
    """What one run of `compress` left."""

    report: Report
    onnx: Path
    events: list[tuple[str, int, int, str]]

    @property
    def bundle(self) -> Path:
        return self.onnx.with_suffix(".slim")

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.onnx.with_suffix(".report.json").read_text()))


@pytest.fixture(scope="session")
def compressed(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    """The dense network trained as well; two draws, so that there is a stability."""
    onnx = tmp_path_factory.mktemp("compressed") / "new" / "tiny.onnx"
    events: list[tuple[str, int, int, str]] = []
    wanted = {**settings, "draws": 2, "epochs": 2, "train_dense": True, "out": onnx}
    report = pipeline.compress(listener=lambda *event: events.append(event), **wanted)
    return Compressed(report, onnx, events)


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
