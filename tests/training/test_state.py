import pytest
import torch
from torch.optim import SGD

from slimprune.errors import VerificationError
from slimprune.training.state import fill_state, state_tensors
from tests.training.cases import network


def stepped(seed=0):
    model = network(seed)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(8, 6)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_state_moves_from_one_run_to_another():
    saved = state_tensors(*stepped())
    model, optimizer = stepped(seed=1)
    fill_state(model, optimizer, saved)
    again = state_tensors(model, optimizer)
    assert again.keys() == saved.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in saved.items())
    assert {"model.0.weight", "model.1.running_mean", "momentum.0.weight"} <= saved.keys()


def test_what_is_saved_is_a_copy():
    model, optimizer = stepped()
    saved = state_tensors(model, optimizer)
    with torch.no_grad():
        model[0].weight.zero_()
    assert saved["model.0.weight"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved.pop("model.0.weight"), r"got model\.0\.weight on one side only"),
        (lambda saved: saved.update({"model.9.weight": torch.zeros(1)}), r"got model\.9\.weight on one side only"),
        (lambda saved: saved.update({"model.0.bias": torch.zeros(3)}), r"expected model\.0\.bias of \[16\]"),
        (lambda saved: saved.update({"momentum.0.bias": torch.zeros(16).double()}), r"momentum\.0\.bias of \[16\]"),
    ],
)
def test_a_state_of_another_model_changes_nothing(change, message):
    saved = state_tensors(*stepped())
    change(saved)
    model, optimizer = stepped(seed=1)
    before = state_tensors(model, optimizer)
    with pytest.raises(VerificationError, match=message):
        fill_state(model, optimizer, saved)
    assert all(torch.equal(before[name], tensor) for name, tensor in state_tensors(model, optimizer).items())
