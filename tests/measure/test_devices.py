import pytest
import torch
from torch import nn

from slimprune.graph import find_groups, keep_channels, prove_removal
from slimprune.graph.example import on_device_of_proofs
from slimprune.measure import devices
from slimprune.measure.devices import count_devices, has_float64, seed_device, synchronise

CPU = torch.device("cpu")


def test_mps_alone_has_no_float64():
    assert [has_float64(torch.device(kind)) for kind in ("cpu", "cuda", "xpu", "mps")] == [True, True, True, False]


def test_devices_that_torch_does_not_see_are_not_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.mps, "is_available", lambda: False, raising=False)
    assert count_devices("mps") == 0
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    assert count_devices("xpu") == 2


def test_mps_is_called_without_an_index(monkeypatch: pytest.MonkeyPatch):
    called: list[object] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: called.append("waited"))
    monkeypatch.setattr(torch.mps, "manual_seed", called.append)
    for device in (torch.device("mps"), CPU):
        synchronise(device)
        seed_device(device, 7)
    assert called == ["waited", 7]


def test_proofs_run_on_the_cpu_where_a_device_has_no_float64(monkeypatch: pytest.MonkeyPatch):
    model, example = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)), torch.ones(2, 1, 3, 3)
    assert on_device_of_proofs(model, example)[0] is model
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", ("cpu",))  # stands for a device that is not here
    copied, _ = on_device_of_proofs(model, example)
    assert copied is not model
    assert torch.equal(copied[0].weight, model[0].weight)
    groups = find_groups(model, example)
    assert [(group.id, group.protected_reason) for group in groups] == [("0", None), ("2", "model output")]
    kept = {"0": torch.tensor([1, 3])}
    assert prove_removal(model, keep_channels(model, groups, kept), groups, kept, example).passed
