import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from slimprune.data import load
from slimprune.errors import UnsupportedModelError
from slimprune.training import Metric, TrainSettings, make_execution, top1, train
from slimprune.training.step import CapturedStep, EagerStep
from slimprune.training.strategy import goes_fast, open_execution

from .cases import Images, assert_same_state, convolutional, network

CPU = torch.device("cpu")


class StoppedError(Exception):
    pass


def fit(model, fast, *, batches=None, stop_after=None, device="cpu", amp=False, checkpoint=None, epochs=4):
    notes = []

    def listener(stage, done, total, note):
        notes.append(note)
        if stop_after is not None and done * epochs == stop_after * total:
            raise StoppedError

    settings = TrainSettings(epochs, lr=0.05, schedule="cosine", nesterov=True, fast=fast, device=device, amp=amp)
    options = {"loss": cross_entropy, "metric": top1, "progress": listener, "checkpoint": checkpoint}
    result = train(model, batches or Images(), Images(), settings, **options)
    assert remarks(notes) == []
    return result


def remarks(notes):
    """What the last note says beside the epoch and its metric."""
    return re.sub(r"^epoch \d+(, top1 [\d.]+ %)?", "", notes[-1] if notes else "").split(", not ")[1:]


def hearing(notes):
    return lambda stage, done, total, note: notes.append(note)


def close(left, right, tolerance=1e-4):
    for name, value in left.state_dict().items():
        torch.testing.assert_close(value, right.state_dict()[name], rtol=tolerance, atol=tolerance, msg=name)


def test_fast_and_plain_training_agree():
    plain, fast = convolutional(), convolutional()
    expected, found = fit(plain, False), fit(fast, True)
    close(plain, fast)
    assert [record.lr for record in found.history] == [record.lr for record in expected.history]
    for one, other in zip(found.history, expected.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-4)
    assert found.final == expected.final


def test_digits_are_learned_as_well_the_fast_way():
    """Within what two seeds differ by, or 18 of 360 images: rounding leads a short training elsewhere."""
    data = load("digits")
    tests = data.test_batches(64)

    def final(seed, fast):
        settings = TrainSettings(4, lr=0.1, schedule="cosine", fast=fast, seed=seed)
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(data.channels, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip
        batches = data.train_batches(32, seed=seed)
        return train(model, batches, tests, settings, loss=cross_entropy, metric=top1).final

    plain = [final(seed, False) for seed in (0, 1)]
    assert min(plain) > 0.7
    assert final(0, True) == pytest.approx(plain[0], abs=max(0.05, abs(plain[0] - plain[1])))


@pytest.mark.parametrize("fast", [True, False])
def test_a_resumed_training_ends_with_the_very_weights(tmp_path, fast):
    whole, resumed = convolutional(), convolutional(seed=5)
    expected = fit(whole, fast)
    with pytest.raises(StoppedError):
        fit(convolutional(), fast, stop_after=2, checkpoint=tmp_path)
    found = fit(resumed, fast, checkpoint=tmp_path)
    assert_same_state(whole, resumed)
    assert [record.train_loss for record in found.history] == [record.train_loss for record in expected.history]


def test_one_way_may_go_on_where_the_other_stopped(tmp_path):
    whole, resumed = convolutional(), convolutional(seed=5)
    fit(whole, False)
    with pytest.raises(StoppedError):
        fit(convolutional(), True, stop_after=2, checkpoint=tmp_path)
    fit(resumed, False, checkpoint=tmp_path)
    close(whole, resumed)


def test_rows_and_frozen_weights_go_the_fast_way_too():
    rows = [(torch.rand(5, 6), torch.tensor([0, 1, 2, 0, 1])), (torch.rand(3, 6), torch.tensor([2, 1, 0]))]
    models = [network(), network()]
    for model, fast in zip(models, (True, False), strict=True):
        model[0].requires_grad_(False)
        settings = TrainSettings(2, fast=fast)
        train(model, rows, rows, settings, loss=cross_entropy, metric=top1)
    assert_same_state(*models)
    assert torch.equal(models[0][0].weight, network()[0].weight)


class Viewing(nn.Module):
    """As many write it: the output of a convolution viewed as rows, which memory in channels-last order cannot be."""

    def __init__(self, trained_only=False):
        super().__init__()
        self.conv, self.norm, self.dropout = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3)
        self.head, self.trained_only = nn.Linear(4 * 64, 3), trained_only

    def forward(self, images):
        features = self.dropout(torch.relu(self.norm(self.conv(images))))
        rows = features.flatten(1) if self.training and self.trained_only else features.view(len(images), -1)
        return self.head(rows)


@pytest.mark.parametrize("trained_only", [False, True])
def test_a_model_that_views_what_a_convolution_gives_is_trained_in_the_usual_order(trained_only):
    """Whether training or testing shows it; down to the last bit, dropout included."""
    models, notes = [], []
    for fast in (False, None):
        torch.manual_seed(0)
        models.append(Viewing(trained_only))
        settings, heard = TrainSettings(2, lr=0.05, fast=fast), []
        train(models[-1], Images(), Images(), settings, loss=cross_entropy, metric=top1, progress=hearing(heard))
        notes += remarks(heard)
        assert models[-1].conv.weight.is_contiguous()
    close(*models, tolerance=0.0)
    (note,) = notes
    assert note.startswith("in channels-last order: view size is not compatible")


def test_a_step_that_fails_for_another_reason_fails():
    class Failing(nn.Sequential):
        def forward(self, images):
            raise RuntimeError("no")

    notes, settings = [], TrainSettings(1)
    model = Failing(nn.Conv2d(3, 3, 1))
    with pytest.raises(RuntimeError, match="no"):
        train(model, Images(), Images(), settings, loss=cross_entropy, metric=top1, progress=hearing(notes))
    assert notes == []


def test_inputs_and_targets_of_any_kind_go_every_way():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = convolutional()

        def forward(self, inputs):
            return self.net(inputs["image"])

    def loss(output, targets):
        first, second = targets
        return cross_entropy(output, first) + cross_entropy(output, second)

    batches = [({"image": images}, (labels, labels)) for images, labels in Images()]
    models = [Named(), Named()]
    for model, fast in zip(models, (False, None), strict=True):
        train(model, batches, batches, TrainSettings(2, fast=fast), loss=loss, metric=Metric("loss", first_of_two))
    close(*models)


def first_of_two(output, targets):
    return (output.argmax(1) == targets[0]).sum().reshape(1), torch.tensor([len(output)])


def test_the_weights_are_channels_last_while_they_are_trained_and_as_usual_afterwards():
    model, orders = convolutional(), []

    def look(done):
        orders.append(model[0].weight.is_contiguous())

    for fast in (None, False):
        settings = TrainSettings(1, fast=fast)
        train(model, Images(), Images(), settings, loss=cross_entropy, metric=top1, after_step=look)
        assert model[0].weight.is_contiguous()
        assert all(weight.grad is None for weight in model.parameters())
    assert orders == [False] * 3 + [True] * 3


def test_the_settings_choose():
    assert goes_fast(network(), TrainSettings(1))
    assert goes_fast(network(), TrainSettings(1, fast=True))
    assert not goes_fast(network(), TrainSettings(1, fast=False))


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")
def test_wrapped_models_go_the_plain_way(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(convolutional())
        with open_execution(wrapped, TrainSettings(1, fast=True), cross_entropy, CPU, pytest.fail) as execution:
            assert isinstance(execution.step, EagerStep)
            assert wrapped.module[0].weight.is_contiguous()
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_steps_are_recorded():
    device = torch.device("cuda")
    model = convolutional().to(device)
    execution = make_execution(model, TrainSettings(1, amp=True), cross_entropy, device, pytest.fail)
    assert isinstance(execution.step, CapturedStep)
    assert execution.optimizer.defaults["fused"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_models_that_wait_for_the_device_are_trained_uncaptured_with_a_remark():
    class Waiting(nn.Linear):
        def forward(self, rows):
            return super().forward(rows) * (1 if rows.sum().item() > 0 else 2)

    notes, batch = [], (torch.rand(4, 6), torch.tensor([0, 1, 2, 0]))
    settings = TrainSettings(3, device="cuda")
    train(Waiting(6, 3), [batch], [batch], settings, loss=cross_entropy, metric=top1, progress=hearing(notes))
    found = remarks(notes)
    assert len(found) == 2  # of the step and of the test pass
    assert all("makes the host wait" in remark for remark in found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_networks_trained_side_by_side_are_captured_one_by_one(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    models = [convolutional(seed).cuda() for seed in range(4)]
    twins = [convolutional(seed) for seed in range(4)]

    def on_own_stream(model):
        with torch.cuda.stream(torch.cuda.Stream()):
            fit(model, True, device="cuda")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(on_own_stream, models))
    for model, twin in zip(models, twins, strict=True):
        fit(twin, True, device="cuda")
        close(model, twin, 1e-2)


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(UnsupportedModelError, match="trainable parameters, got none"):
        make_execution(nn.ReLU(), TrainSettings(1), cross_entropy, CPU, pytest.fail)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", [False, True])
def test_captured_training_agrees_with_the_plain_one_and_resumes(monkeypatch, tmp_path, amp):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    plain, fast, resumed = convolutional(), convolutional(), convolutional(seed=5)
    expected = fit(plain, False, device="cuda", amp=amp)
    found = fit(fast, True, device="cuda", amp=amp)
    for one, other in zip(found.history, expected.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=0.05 if amp else 1e-3)
    close(plain, fast, 0.1 if amp else 1e-2)
    with pytest.raises(StoppedError):
        fit(convolutional(), True, device="cuda", amp=amp, stop_after=2, checkpoint=tmp_path)
    fit(resumed, True, device="cuda", amp=amp, checkpoint=tmp_path)
    close(fast, resumed, 0.1 if amp else 1e-2)
