import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.graph import find_groups, keep_channels, prove_removal
from slimprune.graph.zero_at_zero import ZeroAtZero
from tests.graph.brought import Constants
from tests.networks import EXAMPLE, Residual, halves, toy

DATA = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
NUMBER = torch.tensor([0.5], dtype=torch.float64)

FUNCTIONS = {
    "sigmoid": (torch.sigmoid, (DATA.sigmoid() - 0.5) * 4),
    "sigmoid in place": (lambda x: x.clone().sigmoid_(), (DATA.sigmoid() - 0.5) * 4),
    "softplus": (F.softplus, (F.softplus(DATA) - torch.tensor(2.0, dtype=torch.float64).log()) * 2),
    "clamp": (lambda x: x.clamp(min=0.25), torch.tensor([0.0, 0.0, 1.75])),
    "one minus": (lambda x: 1 - x, -DATA),
    "a number of the model": (lambda x: x + NUMBER, DATA),
    "relu": (torch.relu, DATA.relu()),
    "1 / x": (torch.reciprocal, 1 / DATA),
    "x ** y": (lambda x: x.pow(torch.tensor([2.0, 0.0, 3.0])), torch.tensor([1.0, 0.0, 8.0])),
    "0 / 0": (lambda x: x / (x * 0 + x), torch.tensor([1.0, 0.0, 1.0])),
    "a sum of two": (lambda x: torch.exp(x) + torch.cos(x), DATA.exp() - 1 + DATA.cos() - 1),
    "what does not depend on the data": (lambda x: x * (NUMBER + 1), DATA * 1.5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_the_data_are_zero_at_zero(name):
    function, expected = FUNCTIONS[name]
    x = DATA.clone()
    with ZeroAtZero(x):
        found = function(x)
    torch.testing.assert_close(found, expected.double())


def test_the_operators_are_named():
    x = DATA.clone()
    with ZeroAtZero(x) as mode:
        (x.sigmoid() + 1).relu()
    assert list(mode.changed) == ["sigmoid", "add"]


def test_a_proof_says_whose_values_at_zero_it_took_off():
    for kind, constants in ((Constants, ("sigmoid", "softplus", "clamp", "add")), (Residual, ())):
        model = toy(kind)
        groups = find_groups(model, EXAMPLE)
        kept = halves(groups)
        proof = prove_removal(model, keep_channels(model, groups, kept), groups, kept, EXAMPLE)
        assert (proof.passed, proof.constants) == (True, constants)


def test_another_constant_than_that_of_silent_channels_is_found():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 4, 3))
    groups = find_groups(model, EXAMPLE)
    kept = halves(groups)
    slim = keep_channels(model, groups, kept)
    slim[1] = nn.Hardsigmoid()
    assert not prove_removal(model, slim, groups, kept, EXAMPLE).passed
