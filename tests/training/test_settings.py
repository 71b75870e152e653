import math
from itertools import pairwise

import pytest
import torch

from slimprune.errors import UsageError
from slimprune.training import TrainSettings
from slimprune.training import settings as settings_of_training
from slimprune.training.schedule import learning_rate
from slimprune.training.settings import choose_device, find_device


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"epochs": 0}, "epochs of at least 1, got 0"),
        ({"lr": 0.0}, "lr above 0, got 0.0"),
        ({"lr": math.inf}, "finite lr"),
        ({"lr": math.nan}, "finite lr"),
        ({"momentum": 1.0}, r"momentum in \[0, 1\), got 1.0"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"nesterov": True, "momentum": 0.0}, "momentum above 0 with nesterov"),
        ({"schedule": "linear"}, "schedule step or cosine, got linear"),
        ({"seed": -1}, "seed"),
        ({"device": "tpu9"}, "device cpu, cuda, cuda:N, mps, xpu or xpu:N, got tpu9"),
        ({"device": "meta"}, "device cpu, cuda, cuda:N, mps, xpu or xpu:N, got meta"),
    ],
)
def test_values_outside_their_range_are_refused(values, rule):
    with pytest.raises(UsageError, match=rule):
        TrainSettings(**{"epochs": 1, **values})


def test_a_cuda_device_that_is_absent_is_refused():
    with pytest.raises(UsageError, match="device cuda:99 to be present"):
        find_device("cuda:99")


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (4, [0.1, 0.1, 0.01, 0.001]),  # 2/4 = 50 %, 3/4 = 75 %
        (3, [0.1, 0.1, 0.01]),  # 2/3 = 67 %
        (1, [0.1]),
    ],
)
def test_step_schedule_divides_by_ten_at_half_and_at_three_quarters(epochs, expected):
    settings = TrainSettings(epochs=epochs)
    steps = range(0, epochs * 5, 5)
    assert [learning_rate(settings, step, 5) for step in steps] == pytest.approx(expected)
    assert [learning_rate(settings, step + 4, 5) for step in steps] == pytest.approx(expected)


def test_cosine_schedule_warms_up_and_falls_to_zero():
    settings = TrainSettings(epochs=4, lr=1.0, schedule="cosine")
    rates = [learning_rate(settings, step, 10) for step in range(41)]  # 40 steps, 4 of them warm-up
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[4 + 18] == pytest.approx(0.5)  # half of the 36 steps that follow
    assert rates[40] == pytest.approx(0.0)
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))


def test_cosine_schedule_of_a_single_step_trains_at_the_peak():
    assert learning_rate(TrainSettings(epochs=1, lr=0.3, schedule="cosine"), 0, 1) == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["tpu", "meta", ""])
def test_other_devices_are_refused(name):
    with pytest.raises(UsageError, match="expected device cpu, cuda, cuda:N, mps, xpu or xpu:N"):
        find_device(name)


@pytest.mark.parametrize(
    ("name", "seen", "found"),
    [("mps", 0, "0 MPS"), ("xpu", 0, "0 XPU"), ("cuda:1", 1, "1 CUDA"), ("xpu:3", 2, "2 XPU")],
)
def test_devices_that_torch_does_not_see_are_refused(monkeypatch, name, seen, found):
    monkeypatch.setattr(settings_of_training, "count_devices", lambda kind: seen)
    with pytest.raises(UsageError, match=f"expected device {name} to be present, got {found} devices"):
        choose_device(name)


@pytest.mark.parametrize("name", ["mps", "xpu:1"])
def test_devices_of_other_makers(monkeypatch, name):
    monkeypatch.setattr(settings_of_training, "count_devices", lambda kind: 2)
    assert str(choose_device(name)) == name


@pytest.mark.parametrize(("present", "expected"), [(False, "cpu"), (True, "cuda:0")])
def test_auto_is_the_cuda_device_where_there_is_one(monkeypatch, present, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert str(choose_device("auto")) == expected
    assert str(choose_device("cpu")) == "cpu"
