import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.masks import find_weights

EXAMPLE = torch.zeros(2, 3, 8, 8)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 2, stride=2), nn.Flatten(),
        nn.Linear(512, 5),
    )  # fmt: skip


def test_weights_of_convolutions_and_linear_layers():
    found = find_weights(network(), EXAMPLE)
    assert [(weight.layer, weight.shape, weight.macs) for weight in found] == [
        ("0", (4, 3, 3, 3), 4 * 3 * 9 * 64),
        ("2", (4, 2, 2, 2), 4 * 2 * 4 * 64),
        ("4", (5, 512), 5 * 512),
    ]
    assert [weight.count for weight in found] == [108, 32, 2560]


def test_tied_weights_appear_once():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Linear(192, 192))
    model[2].weight = model[1].weight
    assert [(weight.name, weight.macs) for weight in find_weights(model, EXAMPLE)] == [("1.weight", 2 * 192**2)]


def test_protected_layers():
    found = find_weights(network(), EXAMPLE, protect=["0", "4"])
    assert [weight.protected_reason for weight in found] == [
        "asked for by --protect 0", None, "asked for by --protect 4"
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"the name or pattern of a layer \(0, 2, 4, \.\.\.\), got '1'"):
        find_weights(network(), EXAMPLE, protect=["1"])


def test_nothing_to_mask():
    with pytest.raises(UnsupportedModelError, match="expected a convolution or linear layer with weights to mask"):
        find_weights(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), EXAMPLE)
