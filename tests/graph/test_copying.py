import copy

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from slimprune.graph.copying import copied
from tests.networks import Residual, toy


class _Shares(nn.Module):
    """A module that knows a tensor, a list and another module by several names, and has a class that copies itself."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = weight_norm(nn.Conv2d(4, 4, 1))
        self.third = self.first
        self.tied = nn.Parameter(torch.ones(2))
        self.names = ["first"]
        self.same_names = self.names
        self.memory = {}
        self.parts = [self.first, self.second]
        self.call = self.forward

    def forward(self, images):
        return self.second(self.first(images))


def test_a_copy_shares_within_itself_what_the_model_shares_and_nothing_with_it():
    model = _Shares()
    copy_of = copied(model)
    assert type(copy_of) is _Shares
    assert copy_of.first is copy_of.third is copy_of.parts[0] is not model.first
    assert copy_of.names is copy_of.same_names is not model.names
    assert copy_of.memory is not model.memory
    assert copy_of.call.__self__ is copy_of
    assert copy_of.first._forward_hooks is not model.first._forward_hooks
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(copy_of(images), model(images))
    with torch.no_grad():
        copy_of.first.weight.zero_()
    assert not torch.equal(copy_of(images), model(images))


def test_what_the_memo_holds_is_not_copied_and_keys_are_those_of_a_deep_copy():
    model = toy(Residual)
    stem = nn.Parameter(torch.zeros_like(model.stem.weight))
    ours, deep = (make(model, {id(model.stem.weight): stem}) for make in (copied, copy.deepcopy))
    assert ours.stem.weight is deep.stem.weight is stem
    assert list(ours.state_dict()) == list(deep.state_dict())
    assert [vars(module).keys() for module in ours.modules()] == [vars(module).keys() for module in deep.modules()]
