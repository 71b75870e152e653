import json
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from slimprune.errors import UsageError, VerificationError
from slimprune.training import TrainSettings, mean_iou, top1, train

from .cases import Shuffled, assert_same_state, network

SETTINGS = TrainSettings(epochs=4, lr=0.05, schedule="cosine", nesterov=True)


class StoppedError(Exception):
    pass


def stop_at(step):
    """Of three steps an epoch; the last of them is told when the epoch is stored."""

    def listener(stage, done, total, note):
        if done == step:
            raise StoppedError

    return listener


def fit(model, folder, settings=SETTINGS, stop_after=None, batches=None, metric=top1):
    options = {"loss": cross_entropy, "metric": metric, "progress": stop_at(3 * stop_after if stop_after else None)}
    return train(model, batches or Shuffled(), Shuffled(batch=12), settings, **options, checkpoint=folder)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint after the second of four epochs."""
    with pytest.raises(StoppedError):
        fit(network(), tmp_path / "run", stop_after=2)
    return tmp_path / "run"


@pytest.mark.parametrize("stop_after", [1, 3, 4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, stop_after, momentum):
    settings = TrainSettings(epochs=4, lr=0.05, schedule="cosine", momentum=momentum)
    whole, resumed = network(), network(seed=8)
    expected = fit(whole, None, settings)
    with pytest.raises(StoppedError):
        fit(network(), tmp_path, settings, stop_after)
    torch.rand(3)
    result = fit(resumed, tmp_path, settings)
    assert_same_state(whole, resumed)
    assert [record.train_loss for record in result.history] == [record.train_loss for record in expected.history]
    assert [record.test_metric for record in result.history] == [record.test_metric for record in expected.history]


def test_an_interruption_inside_an_epoch_loses_that_epoch_only(folder):
    options = {"loss": cross_entropy, "metric": top1, "progress": stop_at(2 * 3 + 2), "checkpoint": folder}
    with pytest.raises(StoppedError):
        train(network(), Shuffled(), Shuffled(batch=12), SETTINGS, **options)
    whole, resumed = network(), network()
    fit(whole, None)
    fit(resumed, folder)
    assert_same_state(whole, resumed)


def test_the_folder_holds_one_checkpoint_and_one_line_per_epoch(folder):
    result = fit(network(), folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint-0004.safetensors",
        "checkpoint.json",
        "metrics.jsonl",
    ]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [line["train_loss"] for line in lines] == [record.train_loss for record in result.history]


def test_a_finished_run_is_not_trained_again(folder):
    first = fit(network(), folder)
    model = network(seed=3)
    assert fit(model, folder) == first
    assert not model.training


def test_lines_of_an_earlier_run_do_not_remain(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 77}\n')
    fit(network(), tmp_path)
    assert '"epoch": 77' not in (tmp_path / "metrics.jsonl").read_text()


def test_the_device_may_change_but_nothing_else(folder):
    state = json.loads((folder / "checkpoint.json").read_text())
    assert "device" not in state["fingerprint"]
    assert state["fingerprint"]["steps_per_epoch"] == 24 // 8


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            {"settings": TrainSettings(epochs=4, lr=0.5, schedule="cosine", nesterov=True)},
            "of lr 0.5, got one of lr 0.05",
        ),
        ({"batches": Shuffled(batch=6)}, "steps_per_epoch 4, got one of steps_per_epoch 3"),
        ({"metric": mean_iou}, "metric miou"),
    ],
)
def test_other_settings_are_refused(folder, change, rule):
    with pytest.raises(VerificationError, match=rule):
        fit(network(), folder, **change)


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (nn.Sequential(nn.Linear(6, 3)), "model.1.bias on one side only"),
        (nn.Sequential(*network()[:4], nn.Linear(16, 3, bias=False)), "model.4.bias on one side only"),
        (
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), *network()[2:4], nn.Linear(8, 3)),
            r"model.0.bias of \[8\] .* got \[16\]",
        ),
    ],
)
def test_another_model_is_refused_and_left_as_it_was(folder, model, rule):
    before = model[0].weight.clone()
    with pytest.raises(VerificationError, match=rule):
        fit(model, folder)
    assert torch.equal(model[0].weight, before)


def test_an_altered_byte_in_the_weights_is_refused(folder):
    [weights] = folder.glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(VerificationError, match="SHA-256"):
        fit(network(), folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"fingerprint": {}, "history": [3]}', "\udcff"])
def test_a_damaged_state_is_refused(folder, text):
    (folder / "checkpoint.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(VerificationError, match=r"checkpoint \S+checkpoint\.json cannot be read: .*expected"):
        fit(network(), folder)


def test_missing_weights_are_refused(folder):
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(VerificationError, match="readable weights"):
        fit(network(), folder)


def test_a_missing_record_is_refused(folder):
    path = folder / "checkpoint.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "history": state["history"][:1]}))
    with pytest.raises(VerificationError, match="one record per epoch"):
        fit(network(), folder)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="writable"):
        fit(network(), tmp_path / "file")


class Tied(nn.Module):
    """A tied weight in channels-last order, and a buffer that is not part of the state_dict."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.b.weight = self.a.weight
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        self.calls += 1
        return self.b(self.a(x)).mean(dim=(2, 3))


def test_tied_weights_memory_formats_and_hidden_buffers_come_back(tmp_path):
    batches = [(torch.rand(4, 3, 5, 5), torch.tensor([0, 1, 2, 0]))]
    torch.manual_seed(0)
    model = Tied()
    train(model, batches, batches, TrainSettings(epochs=2), loss=cross_entropy, metric=top1, checkpoint=tmp_path)
    other = Tied()
    train(other, batches, batches, TrainSettings(epochs=2), loss=cross_entropy, metric=top1, checkpoint=tmp_path)
    assert_same_state(model, other)
    assert other.a.weight is other.b.weight
    assert other.a.weight.is_contiguous(memory_format=torch.channels_last)
    assert other.calls == model.calls == 4


def interrupt_at(step):
    """Send the signal in a step; it must not act before the step has ended."""

    def after_step(done):
        if done == step:
            signal.raise_signal(signal.SIGINT)

    return after_step


AVERAGED = TrainSettings(epochs=3, lr=0.05, schedule="cosine", momentum=0.9, ema=0.9)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_signal_is_put_off_to_the_end_of_its_step(tmp_path, optimizer):
    settings = replace(AVERAGED, optimizer=optimizer)
    options = {"loss": cross_entropy, "metric": top1}
    whole, batches = network(), Shuffled()
    expected = train(whole, batches, Shuffled(batch=12), settings, **options)
    for step in (1, 4, 5, 7):  # of three steps an epoch: never behind the last step of one
        with pytest.raises(KeyboardInterrupt):
            train(network(), batches, batches, settings, **options, checkpoint=tmp_path, after_step=interrupt_at(step))
        assert [path.name for path in tmp_path.glob("*.safetensors")] == [
            f"checkpoint-{step // 3:04d}-{step % 3:06d}.safetensors"
        ]
    resumed, seen = network(seed=5), []
    result = train(
        resumed, batches, Shuffled(batch=12), settings, **options, checkpoint=tmp_path, after_step=seen.append
    )
    assert seen == [8, 9]
    assert_same_state(whole, resumed)
    assert [(record.train_loss, record.lr) for record in result.history] == [
        (record.train_loss, record.lr) for record in expected.history
    ]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


class Interrupting(Shuffled):
    """Test batches behind whose first one the signal comes."""

    def __iter__(self):
        for batch in super().__iter__():
            yield batch
            if self.epoch == 0:
                signal.raise_signal(signal.SIGINT)


def test_a_signal_during_the_test_acts_at_once_and_the_epoch_is_not_trained_again(tmp_path):
    options = {"loss": cross_entropy, "metric": top1}
    whole, resumed, seen = network(), network(seed=5), []
    expected = train(whole, Shuffled(), Shuffled(batch=12), AVERAGED, **options)
    with pytest.raises(KeyboardInterrupt):
        train(network(), Shuffled(), Interrupting(batch=12), AVERAGED, **options, checkpoint=tmp_path)
    result = train(
        resumed, Shuffled(), Shuffled(batch=12), AVERAGED, **options, checkpoint=tmp_path, after_step=seen.append
    )
    assert seen == [4, 5, 6, 7, 8, 9]
    assert_same_state(whole, resumed)
    assert [record.test_metric for record in result.history] == [record.test_metric for record in expected.history]


def test_a_checkpoint_without_a_begun_epoch_as_they_were_is_read(folder):
    path = folder / "checkpoint.json"
    state = json.loads(path.read_text())
    assert state.pop("begun") is None
    path.write_text(json.dumps(state))
    assert len(fit(network(), folder).history) == 4
