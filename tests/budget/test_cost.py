import time

import pytest
import torch
from torch import nn

from slimprune.budget import CostModel
from slimprune.graph import find_groups, keep_channels
from slimprune.measure import count_macs, count_params
from slimprune.models import InputSpec, build
from tests.graph.brought import Heads
from tests.networks import EXAMPLE, NAMED, TOYS, halves, named, toy


def check(model, groups, costs, example):
    kept = halves(groups)
    slim = keep_channels(model, groups, kept)
    widths = torch.tensor([len(kept.get(group.id, range(group.width))) for group in groups]).numpy()
    predicted = costs.cost(widths)
    assert predicted.params == count_params(slim)
    assert abs(predicted.macs - count_macs(slim, example)) <= 0.001 * predicted.macs
    assert predicted.channels == widths.sum()
    assert costs.dense.params == count_params(model)


@pytest.mark.parametrize("kind", TOYS)
def test_toys_cost_what_is_predicted(kind):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    check(model, groups, CostModel.of(model, groups, EXAMPLE), EXAMPLE)


@pytest.mark.parametrize("arch", NAMED)
def test_named_architectures_cost_what_is_predicted(arch):
    model, example, groups, costs = named(arch)
    check(model, groups, costs, example)


def test_figures_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2, padding=1)
    )
    groups = find_groups(model, EXAMPLE)
    costs = CostModel.of(model, groups, EXAMPLE)
    dense, slim = costs.dense, costs.cost(torch.tensor([5, 4]).numpy())
    assert dense.params == (3 * 8 * 9 + 8) + 2 * 8 + (8 * 4 * 9 + 4)
    assert dense.macs == 3 * 8 * 9 * 8 * 8 + 8 * 4 * 9 * 4 * 4
    assert slim.params == (3 * 5 * 9 + 5) + 2 * 5 + (5 * 4 * 9 + 4)
    assert slim.macs == 3 * 5 * 9 * 8 * 8 + 5 * 4 * 9 * 4 * 4
    assert (dense.channels, slim.channels) == (8 + 4, 5 + 4)


def test_the_batch_of_the_example_does_not_count():
    model = toy(TOYS[0])
    groups = find_groups(model, EXAMPLE)
    one, three = (CostModel.of(model, groups, EXAMPLE.expand(n, -1, -1, -1)).dense for n in (1, 3))
    assert one == three


def test_a_module_used_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)

        def forward(self, x):
            return self.conv(self.conv(x).relu())

    assert CostModel.of(Twice(), [], EXAMPLE).dense.macs == 2 * 9 * 64


def test_attention_is_a_fixed_cost():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.values = nn.Linear(8, 8, bias=False)

        def forward(self, x):
            x = x.mean(1)
            return torch.softmax(x @ x.transpose(1, 2), -1) @ self.values(x)

    costs = CostModel.of(Attention(), [], EXAMPLE)
    assert costs.fixed_macs == 2 * 8 * 8 * 8
    assert costs.dense.macs == 3 * 8 * 8 * 8


def test_attention_costs_less_with_fewer_heads():
    model = toy(Heads)
    groups = find_groups(model, EXAMPLE)
    costs = CostModel.of(model, groups, EXAMPLE)
    # In each of four heads of width 3, four patches look at four: twice, for weights and for values.
    assert costs.product_macs.tolist() == [0, 2 * 4 * 4 * 3, 2 * 4 * 4 * 3, 0]
    assert costs.fixed_macs == 0


def test_an_evaluation_is_vectorised():
    """One takes a small part of the time of slimming ResNet-50 for real: no absolute time is asserted."""
    model, _, groups, costs = named("resnet50")
    started = time.perf_counter()
    for _ in range(100):
        costs.cost(costs.widths // 2)
    evaluations = time.perf_counter() - started
    started = time.perf_counter()
    count_params(keep_channels(model, groups, halves(groups)))
    assert evaluations / 100 < (time.perf_counter() - started) / 5


def test_fused_attention_is_counted():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)

        def forward(self, x):
            return self.block(x.mean(1))

    model = Encoder()
    assert CostModel.of(model, [], EXAMPLE).dense.macs == count_macs(model, EXAMPLE)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("arch", ["timm:test_vit", "timm:test_byobnet"])
def test_networks_of_timm_cost_what_is_predicted(arch):
    model, example = build(arch, InputSpec(3, 64, 64, 10)), torch.zeros(1, 3, 64, 64)
    groups = find_groups(model, example)
    costs = CostModel.of(model, groups, example)
    assert costs.dense.macs == count_macs(model, example)
    check(model, groups, costs, example)


def test_macs_of_a_computed_weight_are_counted():
    """Its size is no multiple of the bias that alone is known by name: what is left over is fixed."""

    class Standardised(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return torch.nn.functional.conv2d(x, weight, self.bias)

    model = Standardised(3, 5, 3)
    assert CostModel.of(model, [], EXAMPLE).dense.macs == count_macs(model, EXAMPLE) == 5 * 6 * 6 * 27


@pytest.mark.parametrize("kind", TOYS)
def test_what_is_at_stake_is_what_the_removal_of_one_channel_saves(kind):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    costs = CostModel.of(model, groups, EXAMPLE)
    for group, saved in zip(groups, costs.marginal_costs, strict=True):
        if group.protected_reason is None:
            slim = keep_channels(model, groups, {group.id: torch.arange(1, group.width)})
            assert saved.params == count_params(model) - count_params(slim)
            assert saved.macs == count_macs(model, EXAMPLE) - count_macs(slim, EXAMPLE)
            assert saved.channels == 1


def test_shapes_are_those_of_the_dense_parameters():
    model = toy(TOYS[0])
    costs = CostModel.of(model, find_groups(model, EXAMPLE), EXAMPLE)
    assert costs.shapes == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
