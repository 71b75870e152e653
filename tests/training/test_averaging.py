import pytest
import torch
from torch import nn

from slimprune.training.averaging import Averaging


def test_the_average_moves_as_its_formula_says():
    """From 1 at the first update; then the decay is min(0.5, 2/11) = 2/11, and at the end min(0.5, 3/12) = 1/4."""
    model = nn.BatchNorm1d(1)
    averaging = Averaging(model, 0.5)
    for value in (1.0, 2.0, 3.0):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(10 * value)
        averaging.update()
    second = 1 * 2 / 11 + 2 * 9 / 11
    third = second / 4 + 3 * 3 / 4
    tensors = averaging.tensors()
    assert float(tensors["averaged.weight"]) == pytest.approx(third)
    assert float(tensors["averaged.running_mean"]) == pytest.approx(10 * third)
    with averaging.in_use():
        assert float(model.weight) == pytest.approx(third)
    assert float(model.weight) == 3
    averaging.hand_over()
    assert float(model.weight) == pytest.approx(third)


def test_after_many_updates_the_decay_is_the_given_one():
    model = nn.Linear(1, 1, bias=False)
    averaging = Averaging(model, 0.5)
    for value in [0.0] * 20 + [1.0]:
        with torch.no_grad():
            model.weight.fill_(value)
        averaging.update()
    assert float(averaging.tensors()["averaged.weight"]) == 0.5
