import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph.tracing import trace
from tests.networks import EXAMPLE, Flatten, Residual, toy


def reach(model, layer):
    return next(found for found in trace(model, EXAMPLE) if found.layer == layer)


def test_flatten_reaches_four_columns_a_channel():
    found = reach(toy(Flatten), "conv")
    columns = next(touch for touch in found.touches if touch.name == "hidden.weight")
    assert (columns.dim, columns.role, len(columns.index)) == (1, "consumer", 6 * 4)
    assert sorted(zip(columns.index, columns.root, strict=True))[:5] == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1)]


def test_residual_sum_reaches_both_branches():
    names = {(touch.name, touch.role) for touch in reach(toy(Residual), "stem").touches}
    assert {("stem.weight", "producer"), ("outer.weight", "producer"), ("outer_bn.running_var", "norm")} <= names
    assert {("inner.weight", "consumer"), ("head.weight", "consumer")} <= names


def test_last_layer_meets_the_output():
    assert [obstacle.reason for obstacle in reach(toy(Residual), "head").obstacles] == ["model output"]


def test_frozen_models_are_traced_and_left_frozen():
    model = toy(Residual).requires_grad_(False)
    assert len(list(trace(model, EXAMPLE))) == 4
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_grouped_convolution_is_an_obstacle_that_names_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 4, 1))
    reasons = [obstacle.reason for obstacle in reach(model, "0").obstacles]
    assert reasons == ["grouped convolution 1 (groups=2) is not slimmed"]


def test_layers_that_cannot_be_followed_are_protected_with_the_reason(monkeypatch):
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)
            self.head = nn.Linear(9 * 64, 2)

        def forward(self, x):
            return self.head(torch.cat([self.left(x), self.right(x)], 1).flatten(1))

    def broken(*_):
        raise IndexError("list index out of range\nmore")

    monkeypatch.setattr("slimprune.graph.tracing._reach", broken)
    left, right, head = trace(Joined(), EXAMPLE)
    assert [obstacle.reason for obstacle in left.obstacles] == [
        "its channels cannot be followed: list index out of range"
    ]
    assert (left.width, right.width, head.width) == (4, 5, 2)
    assert {touch.name for touch in right.touches} == {"right.weight", "right.bias"}


def test_a_graph_that_cannot_be_built_is_one_sentence(monkeypatch):
    import torch_pruning

    def broken(*_, **__):
        raise KeyError("no such node")

    monkeypatch.setattr(torch_pruning.DependencyGraph, "build_dependency", broken)
    with pytest.raises(UnsupportedModelError, match=r"torch-pruning cannot trace Residual \('no such node'\)"):
        list(trace(toy(Residual), EXAMPLE))


def test_model_is_untouched():
    model = toy(Residual).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    list(trace(model, EXAMPLE))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
