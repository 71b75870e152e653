import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from slimprune.errors import UnsupportedModelError
from slimprune.training import Penalty, TrainSettings, batch_norm_l1, polarization, top1, train

from .cases import Images, convolutional

GAINS = [0.5, -1.0, 3.5]  # their mean is 1


def norm():
    layer = nn.BatchNorm1d(3)
    layer.weight = nn.Parameter(torch.tensor(GAINS))
    return layer


def test_network_slimming_and_its_gradient():
    layer = norm()
    batch_norm_l1(layer).backward()
    assert float(batch_norm_l1(layer).detach()) == 5
    assert layer.weight.grad.tolist() == [1, -1, 1]


def test_polarization_and_its_gradient():
    """1.2 * 5 - (0.5 + 2 + 2.5) = 1; the gradient of the mean is 1/3 of the sum of the signs -1, -1, 1."""
    layer = norm()
    polarization(layer).backward()
    assert float(polarization(layer).detach()) == pytest.approx(1)
    expected = [1.2 + 1 - 1 / 3, -1.2 + 1 - 1 / 3, 1.2 - 1 - 1 / 3]
    assert layer.weight.grad.tolist() == pytest.approx(expected)


def test_a_model_without_gains_is_refused():
    with pytest.raises(UnsupportedModelError, match="expected batch norm layers"):
        batch_norm_l1(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)))


@pytest.mark.parametrize("amp", [False, True])
def test_gains_become_sparse_in_training(amp):
    sums = []
    for strength in (1e-9, 0.5):
        model = convolutional()
        penalty, settings = Penalty("bn-l1", strength, batch_norm_l1), TrainSettings(3, lr=0.05, amp=amp)
        train(model, Images(), Images(), settings, loss=cross_entropy, metric=top1, penalty=penalty)
        sums.append(float(batch_norm_l1(model)))
    assert sums[1] < 0.9 * sums[0]
