import copy
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from slimprune.errors import UnsupportedModelError
from slimprune.models import InputSpec, build
from slimprune.training import cuda_graphs
from slimprune.training.bf16_weights import Bf16Weights
from slimprune.training.memory_format import channels_last, to_channels_last
from slimprune.training.step import CapturedStep, EagerStep, FittingLoss, set_learning_rate

from .cases import Images, assert_same_state, convolutional, record_by_calling

CPU = torch.device("cpu")
OPTIONS = [
    {"momentum": 0.9, "weight_decay": 5e-4},
    {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
    {"momentum": 0.0, "weight_decay": 0.1},
]


def plain(model, options, amp=False):
    return EagerStep(model, SGD(model.parameters(), 0.1, **options), cross_entropy, amp)


def in_channels_last(model, options, amp=False):
    to_channels_last(model)
    return EagerStep(model, SGD(model.parameters(), 0.1, **options), cross_entropy, amp, channels_last)


def captured(model, options, amp=False):
    """As on CUDA: channels-last, fused, with lowered weights under autocast; recorded or what stands in for it."""
    to_channels_last(model)
    optimizer = SGD(model.parameters(), 0.1, **options, fused=True)
    eager = EagerStep(model, optimizer, cross_entropy, amp, channels_last)
    lowered = EagerStep(model, optimizer, cross_entropy, amp, channels_last, Bf16Weights(model).in_use)
    return CapturedStep(lowered if amp else eager, eager, next(model.parameters()).device, pytest.fail)


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "capture", record_by_calling)


def losses(make_step, model, steps, options, *, amp=False, batches=None, peak=0.05):
    """Under a learning rate that changes every step; every epoch's last batch is smaller."""
    step, found, batches = make_step(model.train(), options, amp), [], batches or Images()
    device = next(model.parameters()).device
    while len(found) < steps:
        for inputs, targets in batches:
            lr = peak * math.cos(len(found) / steps * math.pi / 2)
            found.append(step(inputs.to(device), targets.to(device), lr))
        batches.set_epoch(batches.epoch + 1)
    return torch.stack(found[:steps])


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("make_step", [in_channels_last, captured])
@pytest.mark.parametrize("options", OPTIONS)
def test_every_way_makes_the_same_steps(make_step, options):
    expected = losses(plain, convolutional(), 50, options)
    found = losses(make_step, convolutional(), 50, options)
    assert torch.allclose(found, expected, rtol=0, atol=1e-4)
    assert expected[-3:].mean() < expected[:3].mean()


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("make_step", [in_channels_last, captured])
def test_every_way_makes_the_same_steps_of_a_residual_network(make_step):
    """In float64, where rounding does not grow into something: a first weight of 1 + 1e-7 moves the losses by 1e-8.

    In float32 the same change moves them by 2e-3, which is the distance between the ways as well.
    """
    torch.manual_seed(0)
    model, options, images = build("resnet20", InputSpec(3, 8, 8, 3)).double(), OPTIONS[0], Images(14, 8)
    images.inputs, twin = images.inputs.double(), copy.deepcopy(model)
    expected = losses(plain, model, 50, options, batches=copy.copy(images), peak=0.01)
    found = losses(make_step, twin, 50, options, batches=images, peak=0.01)
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("on_cpu")
def test_lowered_weights_make_the_steps_of_autocast():
    expected = losses(plain, convolutional(), 50, OPTIONS[0], amp=True)
    found = losses(captured, convolutional(), 50, OPTIONS[0], amp=True)
    assert torch.allclose(found.float(), expected.float(), rtol=0, atol=0.03)


@pytest.mark.usefixtures("on_cpu")
def test_a_fused_optimizer_leaves_momentum_as_a_plain_one_does():
    states = []
    for make_step in (plain, captured):
        model, options = convolutional(), OPTIONS[0]
        step = make_step(model.train(), options)
        for inputs, targets in Images():
            step(inputs, targets, 0.05)
        optimizer = step.optimizer if isinstance(step, EagerStep) else step._eager.optimizer
        states.append([optimizer.state[weight]["momentum_buffer"] for weight in model.parameters()])
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("amp", [False, True])
def test_a_loss_that_is_not_finite_leaves_everything_as_it_was(amp):
    model = convolutional()[7:]
    before, inputs = copy.deepcopy(model), torch.full((4, 8, 2, 2), math.inf)
    optimizer = SGD(model.parameters(), 0.1)
    step = EagerStep(model, optimizer, cross_entropy, amp, weights=Bf16Weights(model).in_use if amp else nullcontext)
    assert not step(inputs, torch.tensor([0, 1, 2, 0]), 0.1).isfinite()
    assert_same_state(model, before)


def test_a_model_that_cannot_take_lowered_weights_is_trained_without_them(monkeypatch):
    """Its last layer runs in float32 on purpose, where a bfloat16 weight is an error."""

    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.norm, self.head = nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, rows):
            features = self.norm(self.body(rows))
            with torch.autocast("cpu", enabled=False):
                return self.head(features.float())

    monkeypatch.setattr(cuda_graphs, "capture", record_by_calling)
    model, notes = Careful(), []
    twin, batch = copy.deepcopy(model), (torch.rand(4, 6), torch.tensor([0, 1, 2, 0]))
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9, fused=True)
    eager = EagerStep(model, optimizer, cross_entropy, True)
    lowered = EagerStep(model, optimizer, cross_entropy, True, weights=Bf16Weights(model).in_use)
    step, expected = CapturedStep(lowered, eager, CPU, notes.append), plain(twin, {"momentum": 0.9}, True)
    for _ in range(3):
        torch.testing.assert_close(step(*batch, 0.1), expected(*batch, 0.1))
    assert len(notes) == 1
    torch.testing.assert_close(model.state_dict(), twin.state_dict())


def test_a_learning_rate_on_the_device_keeps_its_place():
    weight = torch.zeros(1, requires_grad=True)
    rate = torch.tensor(0.5)
    for optimizer, place in [(SGD([weight], rate, fused=True), rate), (SGD([weight], 0.5), None)]:
        set_learning_rate(optimizer, 0.25)
        assert optimizer.param_groups[0]["lr"] == 0.25
        assert place is None or optimizer.param_groups[0]["lr"] is place


def test_the_fit_is_checked_in_the_first_call_only():
    loss = FittingLoss(lambda output, targets: output.sum())
    with pytest.raises(UnsupportedModelError, match="got 3 outputs for class 3"):
        loss(torch.rand(2, 3), torch.tensor([0, 3]))
    loss(torch.rand(2, 3), torch.tensor([0, 2]))
    loss(torch.rand(2, 3), torch.tensor([0, 3]))


def test_outputs_other_than_one_tensor_are_left_to_the_loss():
    loss = FittingLoss(lambda output, targets: output["logits"].sum())
    assert loss({"logits": torch.ones(2, 3)}, torch.tensor([0, 3])) == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", OPTIONS)
def test_captured_steps_are_those_of_the_plain_loop(monkeypatch, options):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    expected = losses(plain, convolutional().cuda(), 50, options)
    assert torch.allclose(losses(captured, convolutional().cuda(), 50, options), expected, rtol=0, atol=1e-3)
    lowered = losses(captured, convolutional().cuda(), 50, options, amp=True)
    assert torch.allclose(
        lowered.float(), losses(plain, convolutional().cuda(), 50, options, amp=True).float(), atol=0.05
    )
