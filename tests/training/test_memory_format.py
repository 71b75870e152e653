import pytest
import torch
from torch import nn

from slimprune.training.memory_format import channels_last, channels_last_weights, to_channels_last

from .cases import assert_same_state, convolutional


def in_channels_last(weight):
    return weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_are_in_channels_last_order_inside_and_in_the_usual_one_afterwards():
    model, before = convolutional(), convolutional()
    parameters = list(model.parameters())
    with channels_last_weights(model):
        assert in_channels_last(model[0].weight)
        assert not model[0].weight.is_contiguous()
        assert_same_state(model, before)
    assert all(weight.is_contiguous() for weight in model.parameters())
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    assert_same_state(model, before)


def test_the_order_is_put_back_after_an_error():
    model = convolutional()
    with pytest.raises(ZeroDivisionError), channels_last_weights(model):
        raise ZeroDivisionError
    assert model[0].weight.is_contiguous()


def test_weights_that_came_in_another_order_keep_it():
    model = convolutional().to(memory_format=torch.channels_last)
    with channels_last_weights(model):
        pass
    assert in_channels_last(model[0].weight)


def test_weights_of_other_dimensions_are_left_alone():
    model = nn.Sequential(nn.Conv3d(2, 3, 3), nn.Conv1d(2, 3, 3), nn.Linear(2, 2), nn.Conv2d(2, 3, 3))
    assert to_channels_last(model) == [model[3].weight]


def test_only_images_are_rearranged():
    images, rows = torch.rand(2, 3, 4, 4), torch.rand(2, 3)
    assert in_channels_last(channels_last(images))
    assert torch.equal(channels_last(images), images)
    assert channels_last(rows) is rows
