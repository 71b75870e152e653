import pytest
import torch

from slimprune.graph import find_groups
from slimprune.measure import count_macs
from slimprune.models import InputSpec, build

from .asserts import assert_exports_with_any_batch, assert_maps, parameter_count

CIFAR = InputSpec(3, 32, 32, 10)
WEIGHTS = (
    9 * 3 * 16,
    2 * 9 * 16 * 16,
    9 * 16 * 32 + 9 * 32 * 32 + 16 * 32,
    9 * 32 * 64 + 9 * 64 * 64 + 32 * 64,
)
"""Weights of the stem's and the three stages' convolutions."""
HEAD = 64 * 10
CHANNELS = 16 * 3 + 32 * 2 + 64 * 2
"""Channels that are normalised; each has a weight, a bias and two running statistics."""


def test_parameters_of_the_reference_implementation():
    """Keras counts 78,666 parameters, running statistics among them."""
    biases = CHANNELS + 32 + 64 + 10
    assert sum(WEIGHTS) + HEAD + biases + 4 * CHANNELS == 78_666
    assert parameter_count(build("resnet8", CIFAR)) == 78_666 - 2 * CHANNELS


def test_macs_of_the_reference_implementation():
    """MLPerf Tiny gives 12.5 million MACs."""
    pixels = (32 * 32, 32 * 32, 16 * 16, 8 * 8)
    expected = sum(weights * number for weights, number in zip(WEIGHTS, pixels, strict=True)) + HEAD
    assert round(expected / 1e6, 1) == 12.5
    assert count_macs(build("resnet8", CIFAR).eval(), torch.zeros(1, 3, 32, 32)) == expected


@pytest.mark.parametrize("inputs", [InputSpec(1, 28, 28, 10), InputSpec(3, 7, 9, 2)])
def test_any_size(inputs: InputSpec):
    assert_maps(build("resnet8", inputs), inputs, inputs.classes)


def test_convolutions_start_at_kaimings_scale():
    convolution = build("resnet8", CIFAR).stages[2].conv2
    assert convolution.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_exports():
    assert_exports_with_any_batch(build("resnet8", CIFAR), CIFAR)


def test_all_channels_but_the_images_and_the_classes_can_be_removed():
    groups = find_groups(build("resnet8", CIFAR), torch.zeros(1, 3, 32, 32))
    free = sorted(group.width for group in groups if group.protected_reason is None)
    assert free == [16, 16, 32, 32, 64, 64]
