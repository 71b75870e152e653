import torch
import torch.nn.functional as F

from slimprune.graph import find_groups, free_groups
from slimprune.saliency import Problem
from slimprune.saliency.criteria.magnitude import Magnitude
from tests.networks import EXAMPLE, Residual, Transposed, toy


def scores(kind):
    model = toy(kind)
    groups = free_groups(find_groups(model, EXAMPLE))
    return model, Magnitude().score(Problem.prepare(model, groups, F.mse_loss, "consumer", torch.float32))


def test_root_mean_square_over_all_producers_of_a_group():
    model, found = scores(Residual)
    stem, outer = model.stem.weight.detach().flatten(1), model.outer.weight.detach().flatten(1)
    squares = stem.square().sum(1) + outer.square().sum(1)
    assert torch.allclose(found["stem"], (squares / (3 * 9 + 5 * 9)).sqrt())


def test_transposed_convolution_is_read_along_its_outputs():
    model, found = scores(Transposed)
    assert torch.allclose(found["up"], model.up.weight.detach().square().mean((0, 2, 3)).sqrt())
