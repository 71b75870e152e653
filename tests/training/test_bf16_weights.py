import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from slimprune.training.bf16_weights import Bf16Weights
from slimprune.training.step import EagerStep

from .cases import Images, convolutional

LOWERED = ["0.weight", "0.bias", "4.weight", "7.weight", "7.bias", "11.weight", "11.bias"]


def gradients(model):
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def backward(model, inputs, targets):
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(model(inputs), targets)
    torch.autograd.backward(loss)
    return loss.detach()


def test_every_step_sees_the_rounded_masters():
    """In forward and afterwards; the optimizer and the caller have float32 weights throughout."""
    model, seen = convolutional(), []
    masters = dict(model.named_parameters())
    model[0].register_forward_pre_hook(lambda *_: seen.append({n: w.detach() for n, w in model.named_parameters()}))
    step = EagerStep(model, SGD(model.parameters(), 0.1), cross_entropy, True, weights=Bf16Weights(model).in_use)
    for inputs, targets in Images():
        before = {name: weight.detach().clone() for name, weight in masters.items()}
        step(inputs, targets, 0.1)
        for name, weight in seen[-1].items():
            expected = before[name].bfloat16() if name in LOWERED else masters[name]
            assert torch.equal(weight, expected), name
            assert weight.dtype == (torch.bfloat16 if name in LOWERED else torch.float32)
        assert all(now is masters[name] for name, now in model.named_parameters())
        assert not torch.equal(before["0.weight"], masters["0.weight"])
        seen.clear()


def test_losses_and_gradients_are_those_of_autocast():
    model = convolutional()
    plain, (inputs, targets) = copy.deepcopy(model), next(iter(Images()))
    expected = backward(plain, inputs, targets)
    with Bf16Weights(model).in_use():
        loss = backward(model, inputs, targets)
    assert torch.equal(loss, expected)
    found, wanted = gradients(model), gradients(plain)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert found[name].dtype == torch.float32
        assert found[name].stride() == gradient.stride()
        assert torch.equal(found[name], gradient), name


def test_frozen_and_unused_weights_get_no_gradient():
    model = convolutional()
    model[0].requires_grad_(False)
    model.unused = nn.Linear(2, 2)
    model.forward = lambda inputs: nn.Sequential.forward(model[:12], inputs)
    with Bf16Weights(model).in_use():
        assert not model[0].weight.requires_grad
        backward(model, *next(iter(Images())))
    assert {"0.weight", "unused.weight"}.isdisjoint(gradients(model))
    assert "7.weight" in gradients(model)


class Shared(nn.Module):
    """One weight for two linear layers, another for an embedding and a linear layer."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)
        self.right.weight = self.left.weight
        self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.head.weight = self.table.weight

    def forward(self, rows):
        return self.head(self.right(self.left(self.table(rows))))


def test_shared_weights_are_lowered_once_and_only_among_layers_that_autocast_casts():
    model, rows = Shared(), torch.tensor([0, 3, 4])
    plain = copy.deepcopy(model)
    backward(plain, rows, rows)
    with Bf16Weights(model).in_use():
        assert model.left.weight is model.right.weight
        assert model.left.weight.dtype == torch.bfloat16
        assert model.head.weight is model.table.weight
        assert model.head.weight.dtype == torch.float32
        backward(model, rows, rows)
    assert torch.allclose(model.left.weight.grad, plain.left.weight.grad, rtol=0.02, atol=1e-4)
    assert torch.equal(model.table.weight.grad, plain.table.weight.grad)


class Own(nn.Conv2d):
    """Divides by a small number that bfloat16 does not know."""


def test_subclasses_and_other_types_keep_their_weights():
    model = nn.Sequential(Own(3, 3, 1), nn.Linear(3, 3).double(), nn.BatchNorm2d(3))
    with Bf16Weights(model).in_use():
        assert [weight.dtype for weight in model.parameters()] == [torch.float32] * 2 + [torch.float64] * 2 + [
            torch.float32
        ] * 2


def test_the_masters_come_back_after_an_error():
    model = convolutional()
    masters = list(model.parameters())
    with pytest.raises(ZeroDivisionError), Bf16Weights(model).in_use():
        raise ZeroDivisionError
    assert all(one is other for one, other in zip(masters, model.parameters(), strict=True))
