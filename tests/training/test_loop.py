from dataclasses import replace

import pytest
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError
from slimprune.training import TrainSettings, evaluate, top1, train
from slimprune.training.metrics import top5

from .cases import Shuffled, assert_same_state, network

SETTINGS = TrainSettings(epochs=4, lr=0.05)


def fit(model, settings=SETTINGS, batches=None, **options):
    options = {"loss": cross_entropy, "metric": top1, **options}
    return train(model, batches or Shuffled(), Shuffled(batch=12), settings, **options)


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_a_small_problem_is_learned(schedule):
    model = network()
    result = fit(model, TrainSettings(epochs=12, lr=0.05, schedule=schedule))
    assert result.metric == "top1"
    assert result.final > 0.85
    assert result.best == max(record.test_metric for record in result.history) >= result.final
    assert result.final == result.history[-1].test_metric
    assert [record.epoch for record in result.history] == list(range(1, 13))
    assert result.epochs == 12
    assert result.seconds == pytest.approx(sum(record.seconds for record in result.history))
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert not model.training


def test_one_step_is_the_formula_of_sgd():
    # w = 2, loss = mean(w * x) with x = 1 and 3 -> gradient 2; with decay 0.5: 2 + 0.5 * 2 = 3; w - 0.1 * 3 = 1.7
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    batches = [(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))]
    settings = TrainSettings(epochs=1, lr=0.1, weight_decay=0.5)
    result = train(model, batches, batches, settings, loss=lambda output, _: output.mean(), metric=top1)
    assert model.weight.item() == pytest.approx(1.7)
    assert result.history[0].train_loss == pytest.approx(2.0 * (1 + 3) / 2)
    assert result.history[0].lr == 0.1


def test_the_train_loss_weighs_samples_not_batches():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    none = torch.zeros(3, dtype=torch.long)
    batches = [(torch.ones(3, 1), none), (torch.zeros(1, 1), none[:1])]
    settings = TrainSettings(epochs=1, lr=1e-12)
    result = train(model, batches, batches, settings, loss=lambda output, _: output.mean(), metric=top1)
    assert result.history[0].train_loss == pytest.approx(3 / 4)


def test_equal_seeds_give_equal_weights_and_other_seeds_others():
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        fit(model, TrainSettings(epochs=2, seed=seed))
    assert_same_state(models[0], models[1])
    assert not torch.equal(models[0][0].weight, models[2][0].weight)


def test_the_callers_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    fit(network())
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_sees_every_step_and_epoch():
    heard, steps = [], []
    options = {"progress": lambda *event: heard.append(event), "after_step": steps.append}
    first, second = fit(network(), TrainSettings(epochs=2), **options).history
    after_first = f"top1 {100 * first.test_metric:.2f} %"
    notes = ["epoch 1", "epoch 1", f"epoch 1, {after_first}", f"epoch 2, {after_first}", f"epoch 2, {after_first}"]
    notes.append(f"epoch 2, top1 {100 * second.test_metric:.2f} %")
    assert heard == [("train", done, 6, note) for done, note in enumerate(notes, start=1)]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_not_finite_stops_training_before_the_weights_are_touched():
    model = network()
    before = network()
    batches = Shuffled()
    batches.inputs[:] = float("nan")
    rule = r"finite loss, got nan at epoch 1, step 1 \(lr 0.1\); a lower --lr usually helps"
    with pytest.raises(SlimpruneError, match=rule):
        fit(model, TrainSettings(epochs=1), batches=batches)
    assert torch.equal(model[0].weight, before[0].weight)


def test_autocast_runs_on_the_cpu_and_keeps_float32_weights():
    kinds = set()

    def loss(output, target):
        kinds.add(output.dtype)
        return cross_entropy(output, target)

    model = network()
    fit(model, TrainSettings(epochs=1, amp=True), loss=loss)
    assert kinds == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_frozen_parameters_stay_and_a_wholly_frozen_model_is_refused():
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, TrainSettings(epochs=1))
    assert torch.equal(model[0].weight, before)
    with pytest.raises(UnsupportedModelError, match="trainable parameters, got none"):
        fit(model.requires_grad_(False))


class Once:
    """Batches that are there in the first epoch only."""

    def __init__(self):
        self.left = 1

    def __len__(self):
        return 1

    def __iter__(self):
        if self.left:
            self.left -= 1
            yield torch.rand(4, 6), torch.zeros(4, dtype=torch.long)


def test_batches_that_run_dry_are_refused():
    with pytest.raises(DataError, match="training batches in epoch 2, got none"):
        fit(network(), batches=Once())


@pytest.mark.parametrize(
    ("batch", "rule"),
    [
        ((torch.rand(4, 6), torch.tensor([0, 1, 2, 3])), "got 3 outputs for class 3"),
        ((torch.rand(4, 6), torch.tensor([0, 1])), r"one output per target, got \[4, 3\] for 2 targets"),
    ],
)
def test_targets_that_do_not_fit_the_output_are_refused(batch, rule):
    with pytest.raises(UnsupportedModelError, match=rule):
        fit(network(), batches=[batch])


def test_an_absent_device_is_refused():
    with pytest.raises(UsageError, match="present"):
        fit(network(), TrainSettings(epochs=1, device="cuda:99"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda_leaves_its_generator_alone_and_names_the_step_that_failed():
    state = torch.cuda.get_rng_state()
    assert fit(network(), TrainSettings(epochs=12, lr=0.05, device="cuda", amp=True)).final > 0.85
    assert torch.equal(torch.cuda.get_rng_state(), state)
    good = (torch.rand(4, 6), torch.zeros(4, dtype=torch.long))
    with pytest.raises(SlimpruneError, match="epoch 1, step 2"):
        fit(network(), TrainSettings(epochs=1, device="cuda"), batches=[good, (good[0] / 0, good[1])])


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")
def test_a_wrapped_model_trains_to_the_weights_of_a_plain_one(tmp_path):
    plain, wrapped = network(), network()
    fit(plain)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        result = fit(DistributedDataParallel(wrapped), checkpoint=tmp_path / "run")
        again = fit(DistributedDataParallel(network(seed=9)), checkpoint=tmp_path / "run")
    finally:
        distributed.destroy_process_group()
    assert_same_state(plain, wrapped)
    assert again.history == result.history


def test_further_metrics_are_those_of_the_final_weights():
    model = network()
    result = fit(model, replace(SETTINGS, ema=0.5), further=[top5])
    (found,) = result.further
    assert (found.name, found.scale) == ("top5", top5.scale)
    assert found.value == evaluate(model, Shuffled(batch=12), top5, device="cpu") >= result.final
    assert fit(network()).further == ()


class Counted(Shuffled):
    """Batches that count how often they are gone through."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


def test_test_batches_are_read_once_where_there_are_others_for_every_epoch(tmp_path):
    watched, tests = Counted(size=12, batch=6), Counted(batch=12)
    model = network()
    options = {"loss": cross_entropy, "metric": top1, "checkpoint": tmp_path, "validation_batches": watched}
    result = train(model, Shuffled(), tests, SETTINGS, **options)
    assert (watched.passes, tests.passes) == (SETTINGS.epochs, 1)
    plain = network()
    alone = train(plain, Shuffled(), tests, SETTINGS, loss=cross_entropy, metric=top1)
    assert_same_state(model, plain)
    assert result.validation == result.history[-1].test_metric
    assert result.best == max(record.test_metric for record in result.history)
    assert result.final == pytest.approx(alone.final, abs=0.05)
    assert alone.validation is None
    again = train(network(), Shuffled(), tests, SETTINGS, **options)
    assert (again.final, again.history) == (pytest.approx(result.final, abs=0.05), result.history)


def test_averaged_weights_are_those_that_are_tested_at_the_end():
    settings = replace(SETTINGS, ema=0.9)
    tests = [(Shuffled().inputs, Shuffled().targets)]
    model = network()
    result = train(model, Shuffled(), tests, settings, loss=cross_entropy, metric=top1, validation_batches=tests)
    assert result.final == result.validation == evaluate(model, tests, top1, device="cpu")


def test_a_training_in_two_parts_has_the_learning_rates_of_one(tmp_path):
    settings = TrainSettings(4, lr=0.1, schedule="cosine", fast=False)
    whole = fit(network(), settings)
    model = network()
    first = fit(model, settings, enough=lambda epochs: epochs == 2)
    assert first.history[1].train_loss == whole.history[1].train_loss
    asked = {"earlier": first.history, "checkpoint": tmp_path}
    second = fit(model, settings, **asked)
    assert [(one.epoch, one.lr) for one in second.history] == [(one.epoch, one.lr) for one in whole.history]
    assert second.history[:2] == first.history
    assert fit(network(), settings, **asked).history == second.history
