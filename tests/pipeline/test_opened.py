"""Bundles of networks that a loop of the user's own has trained, on the command line and in Python."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune import pipeline
from slimprune.errors import UsageError
from slimprune.pipeline.export import _metadata as metadata_of
from slimprune.pipeline.opened import open_bundle
from slimprune.surgery import Origin, SlimModel, load, read, save
from tests.commands import Run, error_line, listing
from tests.own_network import NET, fresh

EXAMPLE = torch.zeros(2, 3, 16, 16)
INPUTS = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def own(folder: Path) -> Path:
    """The user's file in the current directory."""
    (folder / "own.py").write_text(NET)
    return folder


def slimmed(name: str = "net") -> SlimModel:
    return pipeline.prune(fresh(name), EXAMPLE, ratio=0.5)


def train(module: nn.Module) -> Tensor:
    """Train by a loop that slimprune knows nothing of; return the outputs of the trained network."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(module.train()(INPUTS), torch.arange(6) % 4).backward()
        optimizer.step()
    with torch.no_grad():
        outputs: Tensor = module.eval()(INPUTS)
    return outputs


def test_from_an_own_loop_to_a_verified_file(own: Path, slimprune: Callable[..., Run], data: str) -> None:
    slim = slimmed()
    expected = train(torch.nn.DataParallel(slim.module))
    slim.save("own.slim", module=torch.nn.DataParallel(slim.module), results={"top1": 0.5})
    assert torch.equal(load("own.slim", model=fresh())(INPUTS), expected)

    code, out, err = slimprune("export", "own.slim", "--model", "own.py:net", "--out", "own.onnx")
    assert (code, err) == (0, "")
    assert " ".join(out.split()).startswith("own.onnx differs by at most ")
    assert " on 64 samples of noise, predictions agree to 100 %" in " ".join(out.split())
    code, out, err = slimprune("verify", "own.slim", "own.onnx", "--model", "own.py:net", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["noise"] is True
    code, out, err = slimprune("verify", "own.slim", "own.onnx", "--model", "own.py:net", "--data", data, "--json")
    assert (code, err) == (0, "")
    assert (json.loads(out)["samples"], "noise" in json.loads(out)) == (41, False)
    assert listing(own) == [
        "own.onnx", "own.py", "own.slim", *(f"own.slim/{name}" for name in ("README.md", "slim.json",
                                                                         "weights.safetensors")),
    ]  # fmt: skip

    result = slimprune("verify", "own.slim", "own.onnx")
    assert (result[0], "--model FILE.py:FUNCTION" in error_line(result)) == (2, True)
    result = slimprune("bench", "own.slim", "--model", "own.py:net", "--engine", "torch", "--batch", 1,
                       "--samples", 8, "--seconds", 0.01, "--json", "--quiet")  # fmt: skip
    assert (result[0], result[2]) == (0, "")
    assert json.loads(result[1])["inputs"]["shape"] == [3, 16, 16]


def test_the_logits_are_what_is_exported_of_several_outputs(own: Path) -> None:
    slim = slimmed("named")
    bundle = read(slim.save("own.slim").folder)
    opened = open_bundle(bundle, data=None, model=fresh("named"), trust_code=False)
    with torch.no_grad():
        assert torch.equal(opened.module(INPUTS), slim.module.eval()(INPUTS)["logits"])
    assert (opened.noise, tuple(opened.samples.shape)) == (True, (64, 3, 16, 16))
    assert bundle.origin.inputs is not None
    assert bundle.origin.inputs.classes == 4


@pytest.mark.parametrize(
    ("recipe", "results"),
    [
        ({}, {}),
        ({"data": 3, "image_size": "large", "hash": None}, {"training": 0.5}),
        ({"data": "own batches"}, {"training": None, "top1": "none"}),
    ],
)
def test_odd_records_do_no_harm(own: Path, recipe: dict[str, Any], results: dict[str, Any]) -> None:
    slim = slimmed()
    save(slim.module, slim.plan, "own.slim", origin=slim.origin, recipe=recipe, results=results)
    assert open_bundle(read(Path("own.slim")), data=None, model="own.py:net", trust_code=False).noise
    stated = metadata_of(read(Path("own.slim")))
    assert stated["arch"] == "model object"


def test_a_bundle_without_the_shape_of_its_input_needs_data(own: Path, data: str) -> None:
    slim = slimmed()
    save(slim.module, slim.plan, "own.slim", origin=Origin(None), recipe={}, results={})
    with pytest.raises(UsageError, match=r"expected --data for bundle own\.slim, which names no data set and no shape"):
        open_bundle(read(Path("own.slim")), data=None, model="own.py:net", trust_code=False)
    opened = open_bundle(read(Path("own.slim")), data=data, model="own.py:net", trust_code=False)
    assert len(opened.samples) == 41
    with pytest.raises(UsageError, match="records the shape of one input tensor"):
        pipeline.bench(Path("own.slim"), model="own.py:net")


def test_images_of_another_shape_are_refused(own: Path, tmp_path: Path) -> None:
    pipeline.prune(fresh(), torch.zeros(2, 3, 16, 12), ratio=0.5).save("own.slim")
    with pytest.raises(UsageError, match=r"expected images of shape \(3, 16, 12\), .* got \(3, 32, 32\)"):
        open_bundle(read(Path("own.slim")), data="digits", model="own.py:net", trust_code=False)


def test_inputs_that_are_no_images(own: Path) -> None:
    (own / "mlp.py").write_text(
        "from torch import nn\n\ndef mlp(in_channels, num_classes):\n"
        "    return nn.Sequential(nn.Linear(in_channels, 16), nn.ReLU(), nn.Linear(16, num_classes))\n"
    )
    dense = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 5))
    slim = pipeline.prune(dense, torch.zeros(2, 6), ratio=0.5)
    bundle = slim.save("own.slim")
    assert read(bundle.folder).origin.sample_shape == (6,)
    opened = open_bundle(bundle, data=None, model="mlp.py:mlp", trust_code=False)
    assert torch.equal(opened.module(opened.samples), slim.module(opened.samples))
