import sys

import pytest
from torch.nn.functional import cross_entropy

from slimprune.errors import UsageError
from slimprune.training import TrainSettings, top1, train
from slimprune.training.event_log import check_event_log, event_log

from .cases import Shuffled, network


def test_every_epoch_is_an_event(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = TrainSettings(2, lr=0.05, schedule="cosine")
    options = {"loss": cross_entropy, "metric": top1, "checkpoint": tmp_path / "run", "log": tmp_path / "log"}
    result = train(network(), Shuffled(), Shuffled(), settings, **options)
    train(network(), Shuffled(), Shuffled(), settings, **options)  # finished already: its epochs are written again
    found = accumulators.EventAccumulator(str(tmp_path / "log")).Reload()
    for name, of_record in (("train/loss", "train_loss"), ("train/lr", "lr"), ("test/top1", "test_metric")):
        values = {event.step: event.value for event in found.Scalars(name)}
        assert values == pytest.approx({record.epoch: getattr(record, of_record) for record in result.history})


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"package tensorboard for --log \(pip install"):
        check_event_log()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder for --log"), event_log(tmp_path / "file" / "log", "top1"):
        pass
