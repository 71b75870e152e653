import hashlib
import json
import subprocess
import sys

import pytest
import torch

from slimprune.budget import Budget, CostModel, allocate
from slimprune.errors import UsageError, VerificationError
from slimprune.graph import find_groups
from slimprune.models import InputSpec, MainOutput, build
from slimprune.surgery import Origin, load, read, save, slim
from tests.networks import EXAMPLE, Depthwise, toy

INPUTS = InputSpec(3, 16, 16, 4)


def slimmed(model, example):
    groups = find_groups(model, example)
    return slim(model, allocate(None, groups, Budget(0.6), CostModel.of(model, groups, example), rule="uniform"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of a slim ResNet-20 and the module that it was made from."""
    folder = tmp_path_factory.mktemp("bundles") / "net.slim"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("{}\n")
    found = slimmed(build("resnet20", INPUTS), torch.zeros(1, 3, 16, 16))
    found.module.train()(torch.randn(4, 3, 16, 16))
    origin = Origin("resnet20", INPUTS)
    save(found.module, found.plan, folder, origin=origin, recipe={"ratio": 0.6}, results={"top1": 0.5})
    return folder, found


@pytest.fixture
def bundle(made, tmp_path):
    """A copy of the bundle, to be damaged."""
    folder = tmp_path / "net.slim"
    folder.mkdir()
    for path in made[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_it_reloads_bit_equal(made):
    folder, found = made
    inputs = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load(folder)(inputs), found.module.eval()(inputs))


class Mapped(torch.nn.Module):
    """Gives a mapping."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 1, 1)

    def forward(self, x):
        return {"out": self.head(self.body(x).relu())}


def test_the_main_output_of_a_model_that_was_handed_over_reloads(tmp_path):
    dense, inputs = Mapped(), torch.randn(2, 3, 8, 8)
    found = slimmed(MainOutput(dense), inputs)
    origin = Origin(None, main_output=True)
    save(found.module, found.plan, tmp_path / "net.slim", origin=origin, recipe={}, results={})
    assert read(tmp_path / "net.slim").origin == origin
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "net.slim", model=dense)(inputs), found.module.eval()(inputs))


def test_it_reloads_in_another_process(made, tmp_path):
    folder, found = made
    inputs = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    script = f"""
import torch, slimprune
model = slimprune.load({str(folder)!r})
inputs = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
print(model(inputs).detach().flatten().tolist())
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path)
    with torch.no_grad():
        assert json.loads(output.stdout) == found.module.eval()(inputs).flatten().tolist()


def test_what_it_says_of_itself(made):
    folder, found = made
    description = json.loads((folder / "slim.json").read_text())
    assert description["architecture"] == {
        "arch": "resnet20",
        "inputs": {"channels": 3, "height": 16, "width": 16, "classes": 4},
        "main_output": False,
        "shape": None,
    }
    stem = description["widths"]["conv1"]
    assert stem["out_channels"] == found.plan.widths["conv1"]
    assert set(description["sha256"]) == {"weights.safetensors", "README.md", "metrics.jsonl"}
    assert {"torch", "slimprune", "python"} <= set(description["versions"])
    assert "slimprune.load" in (folder / "README.md").read_text()
    assert read(folder).plan.to_json() == found.plan.to_json()


@pytest.mark.parametrize("name", ["weights.safetensors", "slim.json", "README.md", "metrics.jsonl"])
def test_a_flipped_byte_is_refused(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    for position in (len(data) // 2, len(data) - 2):
        data[position] ^= 1
        (bundle / name).write_bytes(data)
        with pytest.raises(VerificationError, match=r"net\.slim"):
            load(bundle)
        data[position] ^= 1


def rewritten(bundle, change):
    """Changes the description and states the digest that fits."""
    description = json.loads((bundle / "slim.json").read_text())
    del description["digest"]
    change(description)
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    description["digest"] = hashlib.sha256(text.encode()).hexdigest()
    (bundle / "slim.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("plan"), "cannot be read: plan: expected a field, got none"),
        (lambda d: d.pop("recipe"), "cannot be read: recipe: expected a field, got none"),
        (lambda d: d["plan"].pop("kept"), "cannot be read: plan.kept: expected a field, got none"),
        (lambda d: d["plan"]["kept"].update(conv1=[0, "1"]), "plan.kept.conv1.1: expected a valid integer, got '1'"),
        (lambda d: d["plan"]["budget"].update(of="watts"), "plan.budget.of: expected 'params', 'macs', 'channels' or "),
        (lambda d: d["plan"]["budget"].update(ratio=2), "cannot be read: expected ratio in (0, 1), got 2"),
        (lambda d: d["architecture"].update(arch=3), "architecture.arch: expected a valid string, got 3"),
        (lambda d: d["architecture"]["inputs"].pop("height"), "architecture.inputs.height: expected a field, got none"),
        (lambda d: d["sha256"].clear(), "sha256.weights.safetensors: expected a field, got none"),
        (lambda d: d.update(schema_version=9), "expected schema_version 1, got 9"),
    ],
)
def test_a_field_that_is_missing_or_odd_is_named(bundle, change, message):
    rewritten(bundle, change)
    with pytest.raises(VerificationError) as caught:
        load(bundle)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.safetensors", "slim.json", "README.md"])
def test_a_missing_file_is_refused(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(VerificationError, match=name):
        load(bundle)


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="expected the folder of a bundle, got"):
        load(tmp_path / "none.slim")


def test_it_belongs_to_its_architecture(made):
    with pytest.raises(VerificationError, match=r"does not belong to this model: .* is in only one of them"):
        load(made[0], model=toy(Depthwise))
    narrow = slimmed(build("resnet20", INPUTS), torch.zeros(1, 3, 16, 16)).module
    narrow = slimmed(narrow, torch.zeros(1, 3, 16, 16)).module
    with pytest.raises(VerificationError, match=r"does not belong to this model: \S+ has shape"):
        load(made[0], model=narrow)


def test_the_dense_class_refuses_the_slim_weights(made):
    with pytest.raises(RuntimeError, match=r"size mismatch for conv1\.weight"):
        build("resnet20", INPUTS).load_state_dict(load(made[0]).state_dict())


def test_a_bundle_of_a_model_object_needs_that_model(tmp_path):
    model = toy(Depthwise)
    found = slimmed(model, EXAMPLE)
    save(found.module, found.plan, tmp_path, origin=Origin(None), recipe={}, results={})
    with pytest.raises(UsageError, match="pass that dense model as model="):
        load(tmp_path)
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(load(tmp_path, model=toy(Depthwise))(inputs), found.module.eval()(inputs))


def test_code_named_by_a_bundle_runs_only_when_trusted(tmp_path):
    code = tmp_path / "net.py"
    code.write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))\n"
    )
    arch = f"{code}:build"
    found = slimmed(build(arch, INPUTS), torch.zeros(1, 3, 16, 16))
    folder = str(tmp_path / "made" / "net.slim")
    save(found.module, found.plan, folder, origin=Origin(arch, INPUTS), recipe={}, results={})
    with pytest.raises(UsageError, match="allow it with --trust-code"):
        load(folder)
    inputs = torch.randn(2, 3, 16, 16)
    assert torch.equal(load(folder, trust_code=True)(inputs), found.module.eval()(inputs))


def test_the_code_of_an_architecture_goes_along(tmp_path, monkeypatch):
    """A file that is named relative to the current folder is not found from another one."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))\n"
    )
    monkeypatch.chdir(tmp_path)
    found = slimmed(build("net.py:build", INPUTS), torch.zeros(1, 3, 16, 16))
    folder = tmp_path / "made" / "net.slim"
    save(found.module, found.plan, folder, origin=Origin("net.py:build", INPUTS), recipe={}, results={})
    monkeypatch.chdir(tmp_path / "made")
    inputs = torch.randn(2, 3, 16, 16)
    assert torch.equal(load(folder, trust_code=True)(inputs), found.module.eval()(inputs))
    (folder / "architecture.py").write_text("raise SystemExit")
    with pytest.raises(VerificationError, match=r"architecture\.py was altered"):
        load(folder, trust_code=True)
