import pytest
import torch
from torch import nn

from slimprune.errors import UsageError
from slimprune.graph import find_groups
from slimprune.measure import count_macs
from slimprune.models import InputSpec, build

from .asserts import assert_maps, parameter_count

CIFAR = InputSpec(3, 32, 32, 10)
NAME = "mobilenet_v2_cifar"
PUBLISHED = 3_504_872
"""Parameters of MobileNetV2 for 1,000 classes, as torchvision documents."""


def stages() -> list[tuple[int, int, int, int, int]]:
    """Expansion, input and output channels, and sides of the input and output features of every block."""
    blocks, channels, side = [], 32, 32
    for expansion, out, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for number in range(repeats):
            after = side // stride if number == 0 else side
            blocks.append((expansion, channels, out, side, after))
            channels, side = out, after
    return blocks


def test_parameters():
    assert parameter_count(build(NAME, CIFAR)) == PUBLISHED - (1280 * 1000 + 1000) + (1280 * 10 + 10)


def test_macs():
    """Published implementations for CIFAR give 87.98 million (github.com/chenyaofo/pytorch-cifar-models)."""
    macs = 9 * 3 * 32 * 32**2 + 320 * 1280 * 4**2 + 1280 * 10
    for expansion, before, out, side, after in stages():
        hidden = expansion * before
        macs += (before * hidden * side**2 if expansion > 1 else 0) + 9 * hidden * after**2 + hidden * out * after**2
    assert round(macs / 1e6, 2) == 87.98
    assert count_macs(build(NAME, CIFAR).eval(), torch.zeros(1, 3, 32, 32)) == macs


def test_nothing_is_drawn_in_training():
    assert not any(isinstance(module, nn.Dropout) for module in build(NAME, CIFAR).modules())


@pytest.mark.parametrize("inputs", [InputSpec(1, 28, 28, 10), InputSpec(3, 32, 32, 100)])
def test_other_images(inputs: InputSpec):
    assert_maps(build(NAME, inputs), inputs, inputs.classes)


def test_a_depthwise_convolution_follows_its_expansion():
    groups = find_groups(build(NAME, CIFAR), torch.zeros(1, 3, 32, 32))
    assert sum(group.width for group in groups if group.protected_reason is None and group.width == 960) == 3 * 960


def test_it_takes_no_options():
    with pytest.raises(UsageError, match=f"expected no options for '{NAME}', got 'width=2'"):
        build(f"{NAME}:width=2", CIFAR)
