import numpy as np
import pytest
import torch

from slimprune.timing import LayerClock, LayerTimes
from slimprune.timing import layer_times as module
from slimprune.timing.layer_times import ALIGNMENTS, alignment, grid_lines
from slimprune.timing.layers import Layer

from .fakes import FakeTime, blocked_seconds

CPU = torch.device("cpu")


def conv(rows, columns, side=8):
    more = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    return Layer("conv", rows, columns, (side, side), kernel=(3, 3), **more)


@pytest.mark.parametrize("dense", [1, 3, 10, 16, 20, 64, 100, 512])
def test_lines_reach_from_the_least_to_the_largest_width_of_their_kind(dense):
    for step in ALIGNMENTS:
        widths = [width for width in range(1, dense + 1) if alignment(width) == step]
        if widths:
            lines = grid_lines(dense, step)
            assert (lines[0], lines[-1]) == (widths[0], widths[-1])
            assert set(lines) <= set(widths)
            assert len(lines) <= 6


def measured(function, dense, extents):
    """What is interpolated at some widths, and the layers that were measured for it."""
    asked = []

    def measure(layers):
        asked.extend(layers)
        return [function(layer) for layer in layers]

    times = LayerTimes([dense], measure)
    return np.array([times(np.array([extent]))[0] for extent in extents]), asked


def test_what_is_linear_in_both_widths_is_found_exactly():
    def seconds(layer):
        return 1e-3 + 2e-5 * layer.rows + 3e-5 * layer.columns + 1e-6 * layer.rows * layer.columns

    extents = np.random.default_rng(0).integers(1, 65, (50, 2))
    found, asked = measured(seconds, conv(64, 64), extents)
    np.testing.assert_allclose(found, [seconds(conv(*extent)) for extent in extents], rtol=1e-12)
    assert len(asked) < 4 * 50


def test_a_time_that_is_not_monotone_is_told_apart_by_what_divides_the_width():
    dense, extents = conv(128, 128), [(48, 48), (56, 64), (64, 32), (40, 80), (128, 128), (45, 48)]
    found, _ = measured(blocked_seconds, dense, extents)
    np.testing.assert_allclose(found[:-1], [blocked_seconds(conv(*extent)) for extent in extents[:-1]], rtol=1e-12)
    assert found[0] < found[-1]  # 48 rows take less than 45


def test_widths_are_measured_once_and_only_where_they_are_asked_for():
    asked = []

    def measure(layers):
        asked.append(len(layers))
        return [1.0] * len(layers)

    times = LayerTimes([conv(64, 64), conv(64, 64), conv(64, 64, side=4)], measure)
    dense = np.array([[64, 64]] * 3)
    assert times(dense).tolist() == [1.0] * 3
    assert times(dense).tolist() == [1.0] * 3
    assert asked == [2]


def fake_clock(known=None, **options):
    time = FakeTime()
    engine = time.engine(lambda layer, inputs: 1e-6 * layer.weight.numel() * len(inputs))
    return LayerClock(engine, time.place(CPU), batch=2, known=known if known is not None else {}, **options), time


def test_a_clock_gives_the_seconds_of_a_batch(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    kept, counts = [], []
    clock, time = fake_clock(keep=kept.append, progress=lambda *event: counts.append(event))
    layers = [conv(4, 4), conv(4, 8), conv(8, 8), conv(4, 4)]
    expected = [2e-6 * 9 * layer.rows * layer.columns for layer in layers]
    assert clock.seconds(layers) == pytest.approx(expected)
    assert [len(found) for found in kept] == [2, 1]
    assert counts == [("layers", 2, 3, ""), ("layers", 3, 3, "")]
    assert time.prepared == 3
    assert clock.seconds(layers[:2]) == pytest.approx(expected[:2])
    assert time.prepared == 3


def test_a_clock_measures_nothing_that_is_known():
    clock, time = fake_clock(known={conv(4, 4).description: 7.0})
    assert clock.seconds([conv(4, 4)]) == [7.0]
    assert time.prepared == 0
