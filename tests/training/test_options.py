"""Options of training through the whole loop: every execution, resumption and early stopping."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from slimprune.errors import UsageError, VerificationError
from slimprune.training import TrainSettings, cuda_graphs, top1, train
from slimprune.training.distillation import Distillation
from slimprune.training.memory_format import channels_last, to_channels_last
from slimprune.training.step import CapturedStep, EagerStep
from slimprune.training.strategy import make_execution

from .cases import Images, assert_same_state, convolutional, record_by_calling

CPU = torch.device("cpu")
ADAMW = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.01}
ALL = {**ADAMW, "ema": 0.9, "mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1, "distill": 0.5, "warm_up": 1}


class StoppedError(Exception):
    pass


def fit(model, settings, folder=None, *, stop_after=None, batches=None, notes=None):
    def listener(stage, done, total, note):
        if notes is not None:
            notes.append((done, total, note))
        if stop_after is not None and done == stop_after:
            raise StoppedError

    teacher = convolutional(seed=7) if settings.distill else None
    options = {"loss": cross_entropy, "metric": top1, "progress": listener, "checkpoint": folder, "teacher": teacher}
    return train(model, batches or Images(), Images(), settings, **options)


@pytest.mark.parametrize("options", [ADAMW, {"ema": 0.9}, ALL])
@pytest.mark.parametrize("fast", [True, False])
def test_a_resumed_training_ends_with_the_very_weights(tmp_path, options, fast):
    settings = TrainSettings(**{"epochs": 3, "schedule": "cosine", "lr": 0.05, "fast": fast, **options})
    whole, resumed = convolutional(), convolutional(seed=5)
    expected = fit(whole, settings)
    with pytest.raises(StoppedError):
        fit(convolutional(), settings, tmp_path, stop_after=2 * 3)
    found = fit(resumed, settings, tmp_path)
    assert_same_state(whole, resumed)
    for one, other in zip(found.history, expected.history, strict=True):
        assert (one.train_loss, one.test_metric) == (other.train_loss, other.test_metric)


@pytest.mark.parametrize(
    "change",
    [{"ema": 0.8}, {"mixup": None}, {"optimizer": "sgd"}, {"distill": 0.4}, {"class_weights": (1.0, 2.0, 1.0)}],
)
def test_a_checkpoint_of_other_options_is_refused(tmp_path, change):
    fit(convolutional(), TrainSettings(2, **ALL | {"warm_up": None}), tmp_path)
    with pytest.raises(VerificationError, match=next(iter(change))):
        fit(convolutional(), TrainSettings(2, **ALL | {"warm_up": None} | change), tmp_path)


def test_fast_and_plain_training_by_adamw_agree():
    models = [convolutional().double(), convolutional().double()]
    images = Images()
    images.inputs = images.inputs.double()
    for model, fast in zip(models, (True, False), strict=True):
        settings = TrainSettings(3, fast=fast, **ADAMW)
        train(model, images, images, settings, loss=cross_entropy, metric=top1)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_captured_step_of_adamw_with_a_teacher_is_the_plain_one(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "capture", record_by_calling)
    teacher, losses = convolutional(seed=3).eval(), []
    for captured in (False, True):
        model = convolutional().train()
        to_channels_last(model)
        kind = {"fused": True, "capturable": True} if captured else {}
        optimizer = torch.optim.AdamW(model.parameters(), 0.01, **kind)
        imitation = Distillation(teacher, 0.5, 4.0)
        step = EagerStep(model, optimizer, cross_entropy, arrange=channels_last, distillation=imitation)
        run = CapturedStep(step, step, CPU, pytest.fail) if captured else step
        losses.append(torch.stack([run(*batch, 0.01) for _ in range(4) for batch in Images()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_the_averaged_weights_are_tested_and_remain():
    """With a decay near 1 after the warm-up, they lag behind those that are trained."""
    trained, averaged = convolutional(), convolutional()
    settings = TrainSettings(3, lr=0.05)
    fit(trained, settings)
    result = fit(averaged, TrainSettings(3, lr=0.05, ema=0.99))
    start = convolutional()[0].weight
    assert (averaged[0].weight - start).norm() < (trained[0].weight - start).norm()
    again = [(averaged(images).argmax(1) == labels).sum() for images, labels in Images()]
    assert result.final == pytest.approx(int(sum(again)) / 44)


def test_training_stops_when_its_loss_falls_no_further():
    """At a rate near 0 with the same batches, no epoch is better than the first one by more than rounding."""
    batches, notes = Images(), []
    batches.set_epoch = lambda epoch: None
    model = convolutional()[7:]
    batches.inputs = torch.rand(44, 8, 2, 2)
    before = copy.deepcopy(model)
    settings = TrainSettings(9, lr=1e-30, momentum=0.0, weight_decay=0.0, patience=2)
    options = {"loss": cross_entropy, "metric": top1, "progress": lambda *event: notes.append(event)}
    result = train(model, batches, batches, settings, **options)
    assert result.epochs == len(result.history) == 3
    assert_same_state(model, before)
    assert notes[-1][1:3] == (27, 27)
    assert notes[-1][3].endswith("stopped: the training loss falls no further")


def test_a_teacher_and_its_weight_belong_together():
    with pytest.raises(UsageError, match=r"expected distill with a teacher, got 0\.5 with none"):
        train(convolutional(), Images(), Images(), TrainSettings(1, distill=0.5), loss=cross_entropy, metric=top1)


def test_the_optimizer_of_a_device_is_fused_and_can_be_captured():
    execution = make_execution(convolutional(), TrainSettings(1, **ADAMW), cross_entropy, CPU, pytest.fail)
    assert isinstance(execution.optimizer, torch.optim.AdamW)
    assert execution.optimizer.param_groups[0]["weight_decay"] == 0.01


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"optimizer": "lamb"}, "optimizer sgd or adamw, got lamb"),
        ({"optimizer": "adamw", "nesterov": True}, "optimizer sgd with nesterov, got adamw"),
        ({"label_smoothing": 1.0}, r"label_smoothing in \[0, 1\), got 1.0"),
        ({"class_weights": (1.0, 0.0)}, "class_weights above 0"),
        ({"ema": 1.0}, r"ema in \(0, 1\), got 1.0"),
        ({"mixup": 0.0}, "mixup above 0, got 0.0"),
        ({"cutmix": -1.0}, "cutmix above 0"),
        ({"patience": 0}, "patience of at least 1"),
        ({"distill": 1.5}, r"distill in \(0, 1\], got 1.5"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"warm_up": 1}, "warm_up of at least 0 and below the 1 epochs, got 1"),
    ],
)
def test_values_outside_their_range_are_refused(values, rule):
    with pytest.raises(UsageError, match=rule):
        TrainSettings(**{"epochs": 1, **values})
