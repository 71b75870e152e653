"""Scores on our groups against those that torch-pruning gives on the groups of its own dependency graph."""

import pytest
import torch
import torch_pruning
from torch import nn
from torch_pruning import importance as importances

from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups, free_groups
from slimprune.saliency.torch_pruning_groups import channel_scores
from tests.networks import EXAMPLE, TOYS, Depthwise, Residual, toy

WEIGHTS = [importances.MagnitudeImportance, importances.LAMPImportance, importances.FPGMImportance]


class Grouped(nn.Module):
    """Convolutions in two groups: one channel of each group goes at a time."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, groups=1), nn.Conv2d(8, 8, 3, groups=2)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.last(self.norm(self.second(self.first(x).relu())).relu())


def its_scores(importance, network, group, function=torch_pruning.prune_conv_out_channels):
    """What torch-pruning gives to the channels of the layer that makes a group, in the order of its rows."""
    graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=EXAMPLE)
    layer = network.get_submodule(group.id)
    function = torch_pruning.prune_linear_out_channels if isinstance(layer, nn.Linear) else function
    return importance(graph.get_pruning_group(layer, function, list(range(graph.get_out_channels(layer)))))


def lively(kind):
    network = toy(kind)
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
    return network


@pytest.mark.parametrize("make", WEIGHTS)
@pytest.mark.parametrize("kind", TOYS)
def test_scores_are_those_on_its_own_graph(kind, make):
    network = lively(kind)
    for group in free_groups(find_groups(network, EXAMPLE)):
        found = channel_scores(make(), network, group)
        assert torch.allclose(found, its_scores(make(), network, group), rtol=1e-6, atol=1e-7), group.id


@pytest.mark.parametrize("kind", [Residual, Depthwise])
def test_factors_of_norms_too(kind):
    network = lively(kind)
    for group in free_groups(find_groups(network, EXAMPLE)):
        found = channel_scores(importances.BNScaleImportance(), network, group)
        assert torch.allclose(found, its_scores(importances.BNScaleImportance(), network, group), rtol=1e-6)


def test_channels_of_convolution_groups_are_averaged_as_its_pruner_does():
    network = lively(Grouped)
    groups = free_groups(find_groups(network, EXAMPLE))
    assert [(group.id, group.width) for group in groups] == [("first", 4), ("second", 4)]
    for group in groups:
        found = channel_scores(importances.MagnitudeImportance(), network, group)
        its = its_scores(importances.MagnitudeImportance(), network, group)
        assert torch.allclose(found, its.view(2, 4).mean(0), rtol=1e-6)


def test_a_norm_behind_a_flatten_is_averaged_over_its_entries():
    network = nn.Sequential(
        nn.Conv2d(3, 5, 5), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(20), nn.Linear(20, 4)
    )
    nn.init.uniform_(network[3].weight)
    (group,) = free_groups(find_groups(network, EXAMPLE))
    found = channel_scores(importances.BNScaleImportance(), network, group)
    factors = network[3].weight.abs()
    assert torch.allclose(found, (factors / factors.mean()).view(5, 4).mean(1), rtol=1e-6)


def test_columns_that_a_permutation_interleaves_are_found():
    class Interleaved(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3, stride=3), nn.Linear(24, 4)

        def forward(self, x):
            return self.head(self.conv(x).relu().permute(0, 2, 3, 1).flatten(1))

    network = toy(Interleaved)
    (group,) = free_groups(find_groups(network, EXAMPLE))
    found = channel_scores(importances.MagnitudeImportance(normalizer=None), network, group)
    rows = network.conv.weight.square().sum((1, 2, 3))
    columns = network.head.weight.square().sum(0).view(4, 6).sum(0)
    assert torch.allclose(found, (rows + columns) / 2, rtol=1e-6)


def test_a_group_without_a_layer_that_it_knows_is_named():
    network = toy(TOYS[1])
    group = free_groups(find_groups(network, EXAMPLE))[0]
    with pytest.raises(UnsupportedModelError, match="BNScaleImportance of torch-pruning knows no layer of group left"):
        channel_scores(importances.BNScaleImportance(), network, group)


def test_what_its_own_code_fails_on_is_one_line():
    network = lively(Grouped)
    group = free_groups(find_groups(network, EXAMPLE))[0]
    with pytest.raises(
        UnsupportedModelError, match="FPGMImportance of torch-pruning fails on group first: RuntimeError"
    ):
        channel_scores(importances.FPGMImportance(), network, group)


def test_scores_that_are_not_finite_are_refused():
    network = toy(Residual)
    nn.init.zeros_(network.inner_bn.weight)
    groups = {group.id: group for group in free_groups(find_groups(network, EXAMPLE))}
    with pytest.raises(UnsupportedModelError, match="expected finite scores, got others from BNScaleImportance"):
        channel_scores(importances.BNScaleImportance(), network, groups["inner"])
