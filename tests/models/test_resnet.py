import pytest
from torch import nn

from slimprune.models import InputSpec
from slimprune.models.resnet import build

from .asserts import assert_maps, parameter_count

TORCHVISION_RESNET18 = 11_689_512  # as torchvision documents, 1,000 classes


@pytest.mark.parametrize("channels", [1, 3])
def test_small_inputs_keep_their_resolution_in_the_stem(channels: int):
    inputs = InputSpec(channels, 32, 32, 10)
    model = build("resnet18", "", inputs)
    stem = 9 * channels * 64 - 49 * 3 * 64
    head = (512 * 10 + 10) - (512 * 1000 + 1000)
    assert parameter_count(model) == TORCHVISION_RESNET18 + stem + head
    assert model.conv1.stride == (1, 1)
    assert isinstance(model.maxpool, nn.Identity)
    assert_maps(model, inputs, 10)


def test_large_inputs_take_torchvisions_form():
    inputs = InputSpec(3, 65, 65, 1000)
    model = build("resnet18", "", inputs)
    assert parameter_count(model) == TORCHVISION_RESNET18
    assert model.conv1.stride == (2, 2)
    assert_maps(model, inputs, 1000)


def test_large_grey_inputs():
    inputs = InputSpec(1, 96, 96, 5)
    model = build("resnet18", "", inputs)
    assert model.conv1.weight.shape == (64, 1, 7, 7)
    assert_maps(model, inputs, 5)
