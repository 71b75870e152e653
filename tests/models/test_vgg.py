import pytest
import torch
from torch import nn

from slimprune.errors import UsageError
from slimprune.models import InputSpec
from slimprune.models.vgg import build

from .asserts import assert_exports_with_any_batch, assert_maps, parameter_count

CIFAR = InputSpec(3, 32, 32, 10)

# Convolutions with bias, then two norm parameters per channel, then the linear layer.
VGG11_CONVOLUTIONS = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512 + 512 * 512 + 512 * 512)
VGG11_CHANNELS = 64 + 128 + 2 * 256 + 4 * 512
VGG19_CONVOLUTIONS = 9 * (
    3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 3 * 256 * 256 + 256 * 512 + 7 * 512 * 512
)
VGG19_CHANNELS = 2 * 64 + 2 * 128 + 4 * 256 + 8 * 512
CLASSIFIER = 512 * 10 + 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg11", VGG11_CONVOLUTIONS + 3 * VGG11_CHANNELS + CLASSIFIER),
        ("vgg19", VGG19_CONVOLUTIONS + 3 * VGG19_CHANNELS + CLASSIFIER),
    ],
)
def test_parameters(name: str, expected: int):
    assert parameter_count(build(name, "", CIFAR)) == expected


@pytest.mark.parametrize(("name", "convolutions"), [("vgg11", 8), ("vgg13", 10), ("vgg16", 13), ("vgg19", 16)])
def test_layers(name: str, convolutions: int):
    modules = list(build(name, "", CIFAR).modules())
    assert sum(isinstance(module, nn.Conv2d) for module in modules) == convolutions
    assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == convolutions
    assert sum(isinstance(module, nn.MaxPool2d) for module in modules) == 4
    assert sum(isinstance(module, nn.Linear) for module in modules) == 1


def test_vgg19_macs():
    macs = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        macs.append(module.weight[0].numel() * output[0].numel())

    model = build("vgg19", "", CIFAR).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(torch.zeros(1, 3, 32, 32))
    assert round(sum(macs) / 1e6, 1) == 398.1


@pytest.mark.parametrize("inputs", [InputSpec(1, 28, 28, 10), InputSpec(3, 16, 24, 7), InputSpec(3, 64, 64, 2)])
def test_small_inputs(inputs: InputSpec):
    assert_maps(build("vgg11", "", inputs), inputs, inputs.classes)


def test_exports():
    assert_exports_with_any_batch(build("vgg11", "", CIFAR), CIFAR)


def test_large_inputs_take_torchvisions_form():
    with torch.device("meta"):
        model = build("vgg11", "", InputSpec(3, 224, 224, 1000))
    assert parameter_count(model) == 132_868_840  # as torchvision documents for vgg11_bn


def test_options_are_refused():
    with pytest.raises(UsageError, match="expected no options for 'vgg11', got 'width=3'"):
        build("vgg11", "width=3", CIFAR)
