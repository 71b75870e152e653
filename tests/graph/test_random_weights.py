import torch
from torch import nn

from slimprune.graph import find_groups
from slimprune.graph.example import random_inputs
from slimprune.graph.random_weights import eval_copy, outputs, random_state, visible_groups
from tests.networks import EXAMPLE, Residual, toy


def test_a_dense_model_is_left_alone_and_its_twin_is_lively():
    model = toy(Residual).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs = random_inputs(EXAMPLE, seed=0, batch=8)
    state = random_state(model, inputs, 0, frozenset())
    (found,) = outputs(eval_copy(model, state), inputs, frozenset())
    assert (found[0] - found[1]).abs().max() > 0.01
    assert found.dtype == torch.float64
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_what_goes_wrong_is_one_line():
    found = outputs(nn.Linear(3, 2), (torch.zeros(2, 4),), frozenset())
    assert isinstance(found, str)
    assert "shapes cannot be multiplied" in found


def test_groups_are_visible_where_an_output_depends_on_them():
    class Unread(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.other(x) + 0.0 * self.two(self.one(x))

    model = Unread()
    groups = find_groups(model, EXAMPLE)
    assert visible_groups(model, random_inputs(EXAMPLE, 0, double=False), groups) == {"two"}
    assert [group.id for group in groups] == ["one", "two"]
