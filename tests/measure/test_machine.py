import os
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from slimprune.errors import UsageError
from slimprune.measure import device_name, load_average, machine, pinned_threads, undisturbed_seconds, usable_cores


def test_threads_are_put_back_even_after_an_error():
    former = torch.get_num_threads()
    with suppress(KeyError), pinned_threads(former + 2):
        assert torch.get_num_threads() == former + 2
        raise KeyError
    assert torch.get_num_threads() == former


def test_no_threads_are_refused():
    with pytest.raises(UsageError, match="expected threads of at least 1, got 0"), pinned_threads(0):
        pass


def test_what_the_machine_is():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert device_name(torch.device("cpu")).startswith("cpu (")
    assert device_name(torch.device("cpu")) != "cpu ()"
    load = load_average()
    assert load is None or load >= 0


def test_what_other_work_takes_is_not_counted(monkeypatch, tmp_path):
    scheduler = tmp_path / "schedstat"
    monkeypatch.setattr(machine, "_SCHEDULER", scheduler)
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: 10.0))
    assert undisturbed_seconds() == 10.0
    scheduler.write_text("168611 3500000000 2\n")
    assert undisturbed_seconds() == 6.5


def test_a_wait_between_the_two_readings_does_not_count_on_one_side_only(monkeypatch):
    """Interrupted from 10 s to 14 s, between the two: 10 - 0, or 14 - 4, but not 10 - 4."""
    waited, clock = iter([0, 4 * 10**9, 4 * 10**9]), iter([10.0, 14.0])
    monkeypatch.setattr(machine, "_SCHEDULER", SimpleNamespace(exists=lambda: True))
    monkeypatch.setattr(machine, "_nanoseconds_waited", lambda: next(waited))
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert undisturbed_seconds() == 10.0


def test_on_a_real_machine_sleep_counts_and_time_does_not_run_ahead():
    began, wall = undisturbed_seconds(), time.perf_counter()
    time.sleep(0.02)
    passed, wall = undisturbed_seconds() - began, time.perf_counter() - wall
    assert 0.01 < passed < wall + 0.005
