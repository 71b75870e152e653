import math

import pytest

from slimprune.scale import SHARES, Scale

ERROR = Scale("", higher_is_better=False)


@pytest.mark.parametrize(
    ("scale", "value", "other", "shown", "change"),
    [
        (SHARES, 0.5, 0.75, "50.00 %", "-25.00 points"),
        (Scale("dB"), 31.25, 30.0, "31.25 dB", "+1.25 dB"),
        (ERROR, 0.012345, 0.01, "0.01235", "+0.002345"),
    ],
)
def test_values_and_their_differences_are_shown_in_their_unit(scale, value, other, shown, change):
    assert (scale.shown(value), scale.change(value, other)) == (shown, change)


def test_the_best_value_and_what_is_lost_follow_the_direction():
    assert (SHARES.best([0.1, 0.3]), ERROR.best([0.1, 0.3])) == (0.3, 0.1)
    assert SHARES.loss(0.7, 0.75) == pytest.approx(5)  # points
    assert SHARES.loss(0.75, 0.7) == pytest.approx(-5)
    assert Scale("dB").loss(29, 30) == 1
    assert ERROR.loss(0.03, 0.02) == pytest.approx(50)  # percent of the other
    assert ERROR.loss(0.01, 0.02) == pytest.approx(-50)
    assert ERROR.loss(0.01, 0.0) == math.inf
    assert ERROR.loss(0.0, 0.0) == 0


def test_a_name_says_where_lower_is_better():
    assert SHARES.titled("top-1") == "top-1"
    assert ERROR.titled("RMSE") == "RMSE (lower is better)"
