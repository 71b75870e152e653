import pytest
import torch
from torch import nn

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.training import evaluate, top1


class Echo(nn.Module):
    """Returns its input as logits in eval mode, and its negative in training mode."""

    def forward(self, x):
        return -x if self.training else x


def test_all_batches_count_by_their_size():
    batches = [(torch.eye(3), torch.tensor([0, 1, 0])), (torch.eye(1, 3), torch.tensor([0]))]
    assert evaluate(Echo(), batches, top1, device="cpu") == 3 / 4


def test_every_mode_is_put_back_even_after_an_error():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    model[0].eval()
    with pytest.raises(UnsupportedModelError):
        evaluate(model, [(torch.zeros(2, 3), torch.zeros(5))], top1, device="cpu")
    assert [module.training for module in model.modules()] == [True, False, True]


def test_no_gradients_are_kept_and_batch_norm_statistics_stay():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, [(torch.rand(4, 3), torch.zeros(4))], top1, device="cpu", amp=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_batches_are_refused():
    with pytest.raises(DataError, match="test batch"):
        evaluate(Echo(), [], top1, device="cpu")


def test_an_output_that_is_not_a_tensor_is_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(UnsupportedModelError, match="one tensor, got tuple"):
        evaluate(Pair(), [(torch.eye(3), torch.arange(3))], top1, device="cpu")
