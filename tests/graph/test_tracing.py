import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph import named_tensors
from slimprune.graph.assembly import assemble
from slimprune.graph.rules import table
from slimprune.graph.tracing import trace
from tests.networks import EXAMPLE, Flatten, Residual, toy


def reasons(forward, **layers):
    """Why the layers of a network that computes `forward(net, x)` are protected, before any proof."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 2)
            for name, layer in layers.items():
                setattr(self, name, layer)

        def forward(self, x):
            return self.head(forward(self, self.conv(x)))

    model = Net()
    order = {name: position for position, name in enumerate(named_tensors(model))}
    return {group.id: group.protected_reason for group in assemble(trace(model, EXAMPLE), order)}


def mean(x):
    return x.mean((2, 3))


def test_columns_of_a_flattened_channel_are_united_with_its_row():
    identities = trace(toy(Flatten), EXAMPLE)
    rows, columns = (identities.find(identities.places[place]) for place in (("conv.weight", 0), ("hidden.weight", 1)))
    assert torch.equal(columns.view(6, 4), rows[:, None].expand(6, 4))


PROTECTED = {
    "softmax over channels": (lambda net, x: mean(x.softmax(1)), "_softmax joins several channels"),
    "mean over channels": (lambda net, x: mean(x + x.mean(1, True)), "mean joins several channels"),
    "sorted channels": (lambda net, x: mean(x.sort(1)[0]), "sort joins several channels"),
    "pooled channels": (lambda net, x: F.max_pool1d(mean(x)[:, None], 3, 1, 1)[:, 0], "joins several channels"),
    "products of activations": (lambda net, x: mean(x @ x), "bmm multiplies activations with each other"),
    "attention": (lambda net, x: mean(F.scaled_dot_product_attention(x, x, x)), "attention in "),
    "a sum broadcast over channels": (lambda net, x: mean(x + net.one(x)), "add is broadcast over channels"),
    "a layer over positions": (lambda net, x: mean(net.rows(x)), "addmm in rows reads positions, not channels"),
    "an operator without a rule": (lambda net, x: mean(torch.fft.rfft(x).real), "there is no rule for _fft_r2c"),
    "the model's input": (lambda net, x: mean(x + net.seen(torch.zeros(1, 3, 8, 8))), None),
}
LAYERS = {
    "one": lambda: nn.Conv2d(8, 1, 1),
    "rows": lambda: nn.Linear(8, 8),
    "seen": lambda: nn.Conv2d(3, 8, 3, padding=1),
}


@pytest.mark.parametrize("name", PROTECTED)
def test_what_joins_channels_protects_them_and_says_what_it_was(name):
    forward, reason = PROTECTED[name]
    found = reasons(forward, **{layer: make() for layer, make in LAYERS.items()})["conv"]
    assert found == reason if reason is None else reason in found


FREE = {
    "a spatial gate": lambda net, x: mean(x * net.one(x).sigmoid()),
    "a position code": lambda net, x: mean(x * net.code),
    "padding": lambda net, x: mean(F.pad(x, (1, 1, 1, 1))),
    "pooling and resampling": lambda net, x: mean(F.interpolate(F.avg_pool2d(x, 2), scale_factor=2)),
    "dropout": lambda net, x: mean(F.dropout2d(F.dropout(x, training=net.training), training=net.training)),
    "rolled and flipped": lambda net, x: mean(x.roll(2, 3).flip(2)),
    "written over": lambda net, x: mean(x.clone().copy_(x)),
    "mean of positions in two steps": lambda net, x: x.flatten(2).mean(-1),
    "selected positions": lambda net, x: x[:, :, torch.tensor([0, 3])].amax((2, 3)),
}


@pytest.mark.parametrize("name", FREE)
def test_what_acts_on_each_channel_by_itself_leaves_it_free(name):
    layers = {"one": nn.Conv2d(8, 1, 1), "code": nn.Parameter(torch.rand(8, 8))}
    assert reasons(FREE[name], **layers)["conv"] is None


def test_writing_into_a_part_of_another_tensor_is_an_obstacle():
    def forward(net, x):
        wide = torch.zeros(len(x), 8, 8, 8)
        wide[:, :8] = x
        return mean(wide)

    assert "writes channels into a part of another tensor" in reasons(forward)["conv"]


def test_a_rule_that_fails_protects_what_reached_it(monkeypatch):
    def broken(flow, call):
        raise IndexError("list index out of range\nmore")

    monkeypatch.setitem(table.RULES, "mean", broken)
    found = reasons(lambda net, x: mean(x))
    assert found["conv"] == "channels cannot be followed through mean: list index out of range"


def test_last_layer_meets_the_output():
    assert reasons(lambda net, x: mean(x)) == {"conv": None, "head": "model output"}


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
