"""The acceptance of the timing on whatever machine this is: nothing is found where nothing differs, 10 % is found."""

import sys
from collections import Counter

import pytest
import torch
from torch import nn

from slimprune.export import export_onnx
from slimprune.timing import ENGINES, Place, Sampling, Subject, paired_times, timing_of

pytestmark = pytest.mark.slow

RUNS = 20
PLACE = Place(torch.device("cpu"), 1)


def repeated(call, times):
    def calls():
        for _ in range(times):
            call()

    return calls


@pytest.fixture
def subject(tmp_path):
    module = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    return Subject(module.eval(), export_onnx(module, torch.zeros(2, 3, 32, 32), tmp_path / "net.onnx").path)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "train", "train-fast"])
@pytest.mark.parametrize(("extra", "expected"), [(0, "no difference"), (1, "slower")])
def test_twenty_comparisons(subject, engine, extra, expected):
    """The second network runs 10 + extra times where the first runs 10 times."""
    inputs, verdicts = torch.randn(2, 3, 32, 32), []
    for run in range(RUNS):
        first, second = (ENGINES[engine].prepared(subject, inputs, PLACE) for _ in range(2))
        calls = repeated(first, 10), repeated(second, 10 + extra)
        times = paired_times(*calls, Sampling(pairs=100, seed=run), stopwatch=PLACE.stopwatch)
        timing = timing_of(times.first, times.second)
        verdicts.append(timing.verdict)
        figures = f"{timing.ratio:.3f} ({timing.low:.3f}-{timing.high:.3f}), {timing.pairs} pairs"
        machine = f"{1e3 * timing.first.median:.1f} ms, disturbed {times.disturbed:.0%}"
        sys.stderr.write(f"{engine} +{extra}: {timing.verdict}, {figures}, {machine}\n")
    assert Counter(expected in verdict for verdict in verdicts)[True] >= RUNS - 1, verdicts
