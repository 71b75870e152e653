import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph.tracing import trace
from tests.graph.following import groups_of, mean
from tests.networks import EXAMPLE, Flatten, Residual, toy


def test_columns_of_a_flattened_channel_are_united_with_its_row():
    channel_ids = trace(toy(Flatten), EXAMPLE)
    places = [channel_ids.places[place] for place in (("conv.weight", 0), ("hidden.weight", 1))]
    rows, columns = map(channel_ids.find, places)
    assert torch.equal(columns.view(6, 4), rows[:, None].expand(6, 4))


def test_the_models_input_is_no_channel_of_a_layer():
    found = groups_of(lambda net, x: mean(x + torch.ones_like(x)))
    assert {name: group.protected_reason for name, group in found.items()} == {"conv": None, "head": "model output"}


def test_training_mode_is_followed_as_well():
    def forward(net, x):
        return mean(x) + mean(net.extra(x)) if net.training else mean(x)

    assert groups_of(forward, extra=nn.Conv2d(8, 8, 1))["conv"].layers == ("conv", "extra")


def test_fused_attention_is_followed_in_its_parts():
    fast_path = torch.backends.mha.get_fastpath_enabled()
    block = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    found = groups_of(lambda net, x: net.block(x.flatten(2).transpose(1, 2)).mean(1), block=block)
    assert (found["block.linear1"].width, found["block.linear1"].protected_reason) == (16, None)
    assert torch.backends.mha.get_fastpath_enabled() == fast_path


def test_frozen_models_are_traced_and_left_frozen():
    model = toy(Residual).requires_grad_(False)
    assert len(trace(model, EXAMPLE).places) > 4
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_failing_forward_is_one_sentence():
    with pytest.raises(UnsupportedModelError, match=r"Residual cannot be traced: "):
        trace(toy(Residual), torch.zeros(1, 5, 8, 8))


def test_model_is_untouched():
    model = toy(Residual).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace(model, EXAMPLE)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
