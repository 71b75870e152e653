import copy

import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.models.input_channels import fit_input_channels


def network(**settings: object) -> nn.Sequential:
    first = nn.Conv2d(3, 64, 5, **settings)
    return nn.Sequential(nn.Sequential(first, nn.ReLU()), nn.Conv2d(64, 3, 1), nn.Conv2d(3, 2, 1))


def test_three_channels_leave_the_model_alone():
    model = network()
    before = copy.deepcopy(model.state_dict())
    assert fit_input_channels(model, 3) is model
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("channels", [1, 4])
def test_only_the_first_convolution_over_rgb_changes(channels: int):
    model = network(stride=2, padding=1, dilation=2, padding_mode="reflect")
    before = copy.deepcopy(model)
    fit_input_channels(model, channels)
    first, old = model[0][0], before[0][0]
    assert first.weight.shape == (64, channels, 5, 5)
    for setting in ("out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode", "groups"):
        assert getattr(first, setting) == getattr(old, setting)
    assert torch.equal(first.bias, old.bias)
    assert torch.equal(model[1].weight, before[1].weight)
    assert torch.equal(model[2].weight, before[2].weight)


def test_the_scale_of_initialisation_stays():
    model = network(bias=False)
    with torch.no_grad():
        model[0][0].weight.mul_(7)
    expected = model[0][0].weight.std().item()
    fit_input_channels(model, 4)
    assert model[0][0].bias is None
    assert model[0][0].weight.std().item() == pytest.approx(expected, rel=0.05)
    assert model[0][0].weight.requires_grad


def test_a_model_without_such_a_convolution_is_refused():
    with pytest.raises(
        UnsupportedModelError, match="expected a convolution over 3 input channels, found none in Linear"
    ):
        fit_input_channels(nn.Linear(3, 3), 1)
