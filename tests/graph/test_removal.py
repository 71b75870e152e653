import pytest
import torch
from torch import nn

from slimprune.graph import find_groups, keep_channels, named_tensors, narrowed, with_tensors
from tests.graph.brought import Heads
from tests.graph.recurrent import Crnn, GatedOnce, Projected
from tests.networks import EXAMPLE, TOYS, Depthwise, Residual, Transposed, halves, toy


@pytest.mark.parametrize("kind", TOYS)
def test_slim_model_runs_trains_and_leaves_the_dense_one_alone(kind):
    model = toy(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    groups = find_groups(model, EXAMPLE)
    slim = keep_channels(model, groups, halves(groups))
    output = slim(torch.randn(4, 3, 8, 8))
    output.square().mean().backward()
    assert output.shape[1:] == model(EXAMPLE).shape[1:]
    assert all(parameter.grad.isfinite().all() for parameter in slim.parameters())
    assert sum(p.numel() for p in slim.parameters()) < sum(p.numel() for p in model.parameters())
    model.load_state_dict(before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_kept_weights_are_those_of_the_kept_channels():
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE)
    slim = keep_channels(model, groups, {"stem": torch.tensor([1, 4]), "inner": torch.tensor([0, 2, 3])})
    assert torch.equal(slim.inner.weight, model.inner.weight[[0, 2, 3]][:, [1, 4]])
    assert torch.equal(slim.outer_bn.running_var, model.outer_bn.running_var[[1, 4]])
    assert torch.equal(slim.head.weight, model.head.weight[:, [1, 4]])


def test_attributes_fit():
    model = toy(Depthwise)
    slim = keep_channels(model, find_groups(model, EXAMPLE), {"expand": torch.tensor([0, 3, 5])})
    assert (slim.filter.in_channels, slim.filter.out_channels, slim.filter.groups) == (3, 3, 3)
    assert (slim.filter_bn.num_features, slim.head.in_channels) == (3, 3)
    model = toy(Transposed)
    slim = keep_channels(model, find_groups(model, EXAMPLE), {"up": torch.arange(2), "down": torch.arange(3)})
    assert (slim.up.in_channels, slim.up.out_channels, slim.head.in_channels) == (3, 2, 4 + 2)


def test_tied_weights_stay_tied_and_frozen_ones_frozen():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    model[2].weight = model[1].weight
    model[1].weight.requires_grad_(False)
    slim = with_tensors(model, {"1.weight": torch.zeros(2, 4, 1, 1)})
    assert slim[2].weight is slim[1].weight
    assert not slim[1].weight.requires_grad
    assert slim[1].out_channels == slim[2].out_channels == 2


def test_the_number_of_heads_follows_the_rows_of_the_queries():
    model = toy(Heads)
    groups = find_groups(model, EXAMPLE)
    kept = {"first.qkv": torch.tensor([1, 3]), "patches": torch.arange(6)}
    slim = keep_channels(model, groups, kept)
    assert (slim.first.num_heads, slim.first.head_dim, slim.first.attn_dim) == (2, 3, 6)
    assert (slim.first.qkv.weight.shape, slim.first.proj.weight.shape) == ((18, 6), (6, 6))
    assert model.first.num_heads == 4
    with narrowed(model, {name: tensor.detach() for name, tensor in slim.named_parameters()}):
        torch.testing.assert_close(model(torch.ones(1, 3, 8, 8)), slim(torch.ones(1, 3, 8, 8)))
        assert model.first.num_heads == 2
    assert (model.first.num_heads, model.first.qkv.out_features) == (4, 36)


@pytest.mark.parametrize("kind", [Crnn, Projected, GatedOnce])
def test_recurrent_layers_take_the_widths_of_their_tensors(kind):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    slim = keep_channels(model, groups, halves(groups))
    own = {name: (type(part), dict(vars(part))) for name, part in model.named_modules()}
    with narrowed(model, {name: tensor.detach() for name, tensor in named_tensors(slim).items()}):
        torch.testing.assert_close(model.eval()(torch.ones(1, 3, 8, 8)), slim.eval()(torch.ones(1, 3, 8, 8)))
    for name, part in model.named_modules():
        kind, attributes = own[name]
        assert type(part) is kind
        assert {key: vars(part).get(key) for key in _WIDTHS} == {key: attributes.get(key) for key in _WIDTHS}


_WIDTHS = ("input_size", "hidden_size", "proj_size")


def test_the_widths_of_a_recurrent_layer_are_those_of_its_tensors():
    model = toy(Projected)
    kept = {"stem": torch.arange(4), "recurrent": torch.arange(3), "recurrent#2": torch.arange(2)}
    slim = keep_channels(model, find_groups(model, EXAMPLE), kept).recurrent
    assert (slim.input_size, slim.hidden_size, slim.proj_size) == (4, 3, 2)
    assert slim.weight_ih_l1.shape == (4 * 3, 2)
