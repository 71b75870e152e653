import copy

import numpy as np
import pytest
import torch
from torch import nn

from slimprune.measure import count_macs
from slimprune.timing import ENGINES, Place, engines, traced_layers
from slimprune.timing.layers import Layer
from tests.networks import EXAMPLE, TOYS, Depthwise, Flatten, Transposed, named, toy

PLACE = Place(torch.device("cpu"), 1)


def macs(layer):
    """Of one sample, by the sizes alone."""
    if layer.kind == "linear":
        return layer.rows * layer.columns * int(np.prod(layer.size, initial=1))
    one = layer.sample(1)
    positions = one if layer.kind == "transposed" else layer.subject(None).module(one)
    return int(np.prod(layer.kernel)) * layer.rows * layer.columns * positions[0, 0].numel()


@pytest.mark.parametrize("kind", TOYS)
def test_the_layers_of_a_network_have_all_its_macs(kind):
    model = toy(kind)
    traced = traced_layers(model, EXAMPLE)
    assert sum(macs(layer) for _, layer in traced) == count_macs(model, EXAMPLE)
    weights = dict(model.named_parameters())
    assert all(weights[name].shape[:2] == (layer.rows, layer.columns) for name, layer in traced)


def test_every_use_counts_and_the_model_is_left_as_it_was():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.BatchNorm1d(3)).train()
    before = model[3].running_mean.clone()
    assert [name for name, _ in traced_layers(model, torch.ones(2, 3))] == ["0.weight"] * 2
    assert model.training
    assert torch.equal(before, model[3].running_mean)


def test_tokens_are_positions_of_a_linear_layer():
    ((_, layer),) = traced_layers(nn.Linear(3, 5, bias=False), torch.zeros(2, 7, 3))
    assert layer == Layer("linear", 5, 3, (7,), bias=False)
    assert layer.sample(4).shape == (4, 7, 3)


LAYERS = [
    *(layer for kind in (Depthwise, Flatten, Transposed) for _, layer in traced_layers(toy(kind), EXAMPLE)),
    *(layer for _, layer in traced_layers(named("resnet18")[0], named("resnet18")[1])[:8]),
    Layer("linear", 5, 3, (7,)),
    Layer("linear", 5, 3, (7,), bias=False),
    Layer("conv", 4, 3, (9,), kernel=(3,), stride=(2,), padding=(1,), dilation=(1,)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.description)
def test_the_module_and_the_onnx_file_compute_the_same(layer, tmp_path):
    inputs = layer.sample(2)
    module = layer.subject(None).module
    call = ENGINES["onnxruntime"].prepared(layer.subject(tmp_path), inputs, PLACE)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(call()[0]), module(inputs))


@pytest.mark.parametrize("engine", ["torch", "train"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.description)
def test_engines_of_torch_run_the_layer(engine, layer, monkeypatch):
    outputs = []

    def watched(module, place):
        module = copy.deepcopy(module)
        module.register_forward_hook(lambda *call: outputs.append(call[-1].shape))
        return module

    monkeypatch.setattr(engines, "_copied", watched)
    call, made = ENGINES[engine].prepared(layer.subject(None), layer.sample(2), PLACE), len(outputs)
    call()
    assert len(outputs) == made + 1
    assert set(outputs) == {layer.subject(None).module(layer.sample(2)).shape}


def test_a_depthwise_convolution_loses_groups_and_another_grouped_one_does_not():
    depthwise = next(layer for _, layer in traced_layers(toy(Depthwise), EXAMPLE) if layer.groups > 1)
    assert (depthwise.rows, depthwise.columns, depthwise.groups) == (8, 1, 8)
    slim = depthwise.resized(3, 1)
    assert (slim.groups, slim.inputs, slim.outputs) == (3, 3, 3)
    grouped = Layer("conv", 8, 4, (4, 4), groups=2, kernel=(1, 1))
    assert (grouped.resized(6, 4).groups, grouped.resized(6, 4).inputs, grouped.resized(6, 4).outputs) == (2, 8, 6)


def test_different_layers_have_different_descriptions():
    assert len({layer.description for layer in LAYERS}) == len(set(LAYERS))
