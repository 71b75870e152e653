"""When two trainings are the same, and what a record gives of one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from slimprune.comparison.equal_trainings import equal_training, training_digest
from slimprune.pipeline.workload import Given, Workload, own_workload
from slimprune.training import TrainSettings

SETTINGS = TrainSettings(2)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def workload() -> Workload:
    batches = [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))]
    return own_workload(network(), Given(batches, batches), "cpu", 0)


def shifted() -> nn.Module:
    module = network()
    with torch.no_grad():
        module[1].running_mean[0] += 1e-7  # type: ignore[union-attr,index,operator]
    return module


def test_equal_networks_settings_and_data_have_one_digest() -> None:
    assert training_digest(network(), SETTINGS, workload(), "a") == training_digest(
        network(), SETTINGS, workload(), "a"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: training_digest(shifted(), SETTINGS, workload(), "a"),
        lambda: training_digest(network(), replace(SETTINGS, seed=1), workload(), "a"),
        lambda: training_digest(network(), replace(SETTINGS, amp=True), workload(), "a"),
        lambda: training_digest(network(), SETTINGS, workload(), "b"),
        lambda: training_digest(nn.Sequential(*network(), nn.ReLU()), SETTINGS, workload(), "a"),
    ],
    ids=["buffer", "seed", "precision", "data", "structure"],
)
def test_any_difference_gives_another(make: Callable[[], str]) -> None:
    assert make() != training_digest(network(), SETTINGS, workload(), "a")


def test_a_record_gives_what_follows_from_the_training_alone(tmp_path: Path) -> None:
    record = {"training": "d", "final": 0.5, "train_loss": 1.0, "row": "uniform", "rule": "uniform", "widths": {"a": 1}}
    (tmp_path / "a.json").write_text(json.dumps({**record, "training": "other"}))
    (tmp_path / "b.json").write_text(json.dumps(record))
    assert equal_training(sorted(tmp_path.glob("*.json")), "d") == {"final": 0.5, "train_loss": 1.0}
    assert equal_training(sorted(tmp_path.glob("*.json")), "e") is None
