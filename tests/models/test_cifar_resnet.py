import pytest
import torch

from slimprune.models import InputSpec
from slimprune.models.cifar_resnet import build

from .asserts import assert_exports_with_any_batch, assert_maps, parameter_count

CIFAR = InputSpec(3, 32, 32, 10)


def expected_parameters(blocks: int, channels: int = 3, classes: int = 10) -> int:
    """Convolutions without bias and two norm parameters per channel, for `blocks` blocks in each of three stages."""
    stem = 9 * channels * 16 + 2 * 16
    plain = {width: 2 * (9 * width * width + 2 * width) for width in (16, 32, 64)}
    stages = blocks * plain[16]
    for narrow, wide in ((16, 32), (32, 64)):
        first = 9 * narrow * wide + 9 * wide * wide + 4 * wide
        shortcut = narrow * wide + 2 * wide
        stages += first + shortcut + (blocks - 1) * plain[wide]
    return stem + stages + 64 * classes + classes


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet32", 5), ("resnet56", 9), ("resnet110", 18)])
def test_parameters(name: str, blocks: int):
    assert parameter_count(build(name, "", CIFAR)) == expected_parameters(blocks)


def test_parameters_of_the_paper():
    """Table 6 gives 0.27, 0.46, 0.85 and 1.7 million, with shortcuts that hold no parameters."""
    shortcuts = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    millions = [(expected_parameters(blocks) - shortcuts) / 1e6 for blocks in (3, 5, 9, 18)]
    assert millions == pytest.approx([0.27, 0.46, 0.85, 1.7], abs=0.03)


@pytest.mark.parametrize("inputs", [InputSpec(1, 28, 28, 10), InputSpec(3, 7, 9, 2)])
def test_any_size(inputs: InputSpec):
    assert_maps(build("resnet20", "", inputs), inputs, inputs.classes)


def test_convolutions_start_at_kaimings_scale():
    convolution = build("resnet20", "", CIFAR).stages[2][1].conv1
    assert convolution.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_exports():
    assert_exports_with_any_batch(build("resnet20", "", CIFAR), CIFAR)


def test_a_block_without_residual_is_its_shortcut():
    block = build("resnet20", "", CIFAR).stages[0][0].eval()
    with torch.no_grad():
        block.bn2.weight.zero_()
        block.bn2.bias.zero_()
        features = torch.rand(1, 16, 4, 4)
        assert torch.equal(block(features), features)


@pytest.mark.parametrize(("name", "blocks", "factor"), [("wrn-14-8", 2, 8), ("wrn-20-8", 3, 8), ("wrn-32-2", 5, 2)])
def test_wide_networks_have_as_many_blocks_of_wider_layers(name: str, blocks: int, factor: int):
    model = build(name, "", CIFAR)
    assert [len(stage) for stage in model.stages] == [blocks] * 3
    assert [stage[-1].conv2.out_channels for stage in model.stages] == [16 * factor, 32 * factor, 64 * factor]
    assert model.fc.in_features == 64 * factor


def test_wide_networks_are_those_of_the_paper():
    """Of what the SNIP paper counts as WRN-16-8 and WRN-22-8, 548k and 858k weights are the 5 % that stay.

    The first convolution is 16 wide there and 128 here, which adds 9 * 112 * (3 + 128) weights.
    """
    millions = [parameter_count(build(name, "", CIFAR)) / 1e6 for name in ("wrn-14-8", "wrn-20-8")]
    wider = 9 * 112 * (3 + 128) / 1e6
    assert [count - wider for count in millions] == pytest.approx([0.548 / 0.05, 0.858 / 0.05], rel=0.002)
