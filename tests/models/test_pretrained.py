"""Pretrained weights, read from caches that the tests fill themselves."""

import re
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from slimprune.errors import DataError, UsageError
from slimprune.models import InputSpec, build, fill, pretrained_weights

LARGE = InputSpec(3, 96, 96, 5)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def put_into_torch_s_cache(folder: Path, name: str, model: nn.Module) -> dict[str, Tensor]:
    file = folder / "torch" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    torch.save(model.state_dict(), file)
    return model.state_dict()


def put_into_the_hub_s_cache(folder: Path, repository: str, name: str, tensors: dict[str, Tensor]) -> None:
    repo = folder / "hub" / f"models--{repository.replace('/', '--')}"
    (repo / "snapshots" / "0").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, repo / "snapshots" / "0" / name)


def test_torchvision_s_weights_come_from_its_cache(tmp_path: Path):
    expected = put_into_torch_s_cache(tmp_path, "squeezenet1_1-b8a52dc0.pth", torchvision.models.squeezenet1_1())
    found = pretrained_weights("squeezenet1_1", LARGE)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    model = build("squeezenet1_1", LARGE)
    with pytest.raises(DataError, match=r"expected 5 outputs of the head classifier.1, got 1000: --reset-head leaves"):
        fill(model, found, "w", outputs=5, reset_head=False)
    assert fill(model, found, "w", outputs=5, reset_head=True) == ["classifier.1.weight", "classifier.1.bias"]
    assert torch.equal(model.features[0].weight, expected["features.0.weight"])


def test_files_in_torchvision_s_former_names(tmp_path: Path):
    expected = put_into_torch_s_cache(tmp_path, "densenet121-a639ec97.pth", torchvision.models.densenet121())
    former = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): t for name, t in expected.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in former
    torch.save(former, tmp_path / "torch" / "checkpoints" / "densenet121-a639ec97.pth")
    assert pretrained_weights("densenet121", LARGE).keys() == expected.keys()


@pytest.mark.parametrize(
    ("arch", "inputs", "message"),
    [
        ("resnet18", InputSpec(3, 32, 32, 5), r"expected images above 64 pixels for torchvision's weights of resnet18"),
        ("vgg11", InputSpec(3, 64, 64, 5), r"expected images above 64 pixels for torchvision's weights of vgg11_bn"),
        ("resnet18", InputSpec(1, 96, 96, 5), r"expected images of 3 channels .* got 1"),
        ("unet", LARGE, r"expected an architecture with pretrained weights \(torchvision's, .*\), got unet"),
        ("resnet20", LARGE, r"expected an architecture with pretrained weights"),
        ("net.py:net", LARGE, r"expected an architecture with pretrained weights .*, got net.py:net"),
        ("timm:resnet10t.nope", LARGE, r"list_pretrained"),
    ],
)
def test_networks_without_pretrained_weights(arch: str, inputs: InputSpec, message: str):
    with pytest.raises(UsageError, match=message):
        pretrained_weights(arch, inputs)


@pytest.mark.parametrize(
    ("arch", "told"),
    [
        (
            "resnet18",
            ["https://download.pytorch.org/models/resnet18-f37072fd.pth", "torch/checkpoints/resnet18-"],
        ),
        ("vgg11", ["https://download.pytorch.org/models/vgg11_bn-"]),
        (
            "timm:test_resnet",
            ["https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"],
        ),
        ("timm:resnet18.a1_in1k", ["https://huggingface.co/timm/resnet18.a1_in1k/", "--weights", "HF_HUB_OFFLINE"]),
    ],
)
def test_without_a_network_one_line_says_what_to_download(arch: str, told: list[str]):
    with pytest.raises(DataError) as caught:
        pretrained_weights(arch, LARGE)
    assert all(part in str(caught.value) for part in told)
    assert "\n" not in str(caught.value)


def test_timm_s_weights_come_from_the_hub_s_cache_and_fit_other_channels(tmp_path: Path):
    expected = timm.create_model("test_resnet", num_classes=1000).state_dict()
    put_into_the_hub_s_cache(tmp_path, "timm/test_resnet.r160_in1k", "model.safetensors", expected)
    inputs = InputSpec(1, 32, 32, 5)
    before = torch.get_rng_state()
    found = pretrained_weights("timm:test_resnet.r160_in1k", inputs)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found["conv1.0.weight"], expected["conv1.0.weight"].sum(1, keepdim=True))
    model = build("timm:test_resnet", inputs)
    assert fill(model, found, "w", outputs=5, reset_head=True) == ["fc.weight", "fc.bias"]
