import pytest
import torch

from slimprune import prune
from slimprune.models import InputSpec
from slimprune.models.cifar_densenet import CifarDenseNet, build

from .asserts import assert_exports_with_any_batch, assert_maps, parameter_count

CIFAR = InputSpec(3, 32, 32, 10)


def test_parameters():
    """Each layer has a norm of its input and 9 * 12 weights per input channel; the paper gives 1.0 million."""
    count, width = 9 * 3 * 16, 16
    for block in range(3):
        count += 0 if block == 0 else width * width + 2 * width
        for _ in range(12):
            count += 2 * width + 9 * 12 * width
            width += 12
    count += 2 * width + 10 * width + 10
    assert width == 16 + 36 * 12
    assert parameter_count(build("densenet40", "", CIFAR)) == count
    assert count / 1e6 == pytest.approx(1.0, abs=0.05)


def test_any_size():
    inputs = InputSpec(1, 8, 12, 4)
    assert_maps(CifarDenseNet(7, 4, 1, 4), inputs, 4)


def test_exports():
    assert_exports_with_any_batch(CifarDenseNet(7, 4, 3, 10), CIFAR)


def test_channels_that_are_joined_are_removed():
    """Half of the parameters, proven; every layer keeps a part of the channels that it adds."""
    slimmed = prune(CifarDenseNet(7, 4, 3, 10), torch.zeros(2, 3, 8, 8), ratio=0.5, rule="uniform")
    assert slimmed.proof is not None
    assert slimmed.proof.problem is None
    assert all(slimmed.plan.widths[group.id] > 0 for group in slimmed.plan.groups)
    assert slimmed.plan.slim.params == pytest.approx(slimmed.plan.dense.params / 2, rel=0.1)
