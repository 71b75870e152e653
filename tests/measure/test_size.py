import torch
from safetensors.torch import save
from torch import nn

from slimprune.measure import count_params, weight_bytes


def test_parameters_and_bytes_of_a_small_network():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    assert count_params(model) == 8 * 3 * 9 + 8 + 8 + 8
    # float32 parameters, running mean and variance, and one int64 counter
    assert weight_bytes(model) == 4 * (8 * 3 * 9 + 8 + 8 + 8) + 4 * (8 + 8) + 8
    assert weight_bytes(model.half()) == 2 * (8 * 3 * 9 + 8 + 8 + 8) + 2 * (8 + 8) + 8
    assert 0 < len(save(model.state_dict())) - weight_bytes(model) < 1000


def test_frozen_parameters_count_and_tied_ones_count_once():
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, second).requires_grad_(False)
    assert count_params(model) == 16
    assert weight_bytes(model) == 4 * 16


def test_buffers_that_are_not_saved_do_not_count():
    model = nn.Linear(4, 4)
    model.register_buffer("cache", torch.zeros(100), persistent=False)
    assert weight_bytes(model) == 4 * (16 + 4)
