import math

import pytest

from slimprune.statistics import student_p_value, student_quantile


@pytest.mark.parametrize(
    ("confidence", "freedom", "quantile"),
    [
        (0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 4, 2.776), (0.95, 30, 2.042), (0.95, 120, 1.980),
        (0.99, 1, 63.657), (0.99, 6, 3.707), (0.90, 10, 1.812), (0.999, 3, 12.924),
    ],
)  # fmt: skip
def test_the_quantiles_of_printed_tables(confidence: float, freedom: float, quantile: float):
    assert student_quantile(confidence, freedom) == pytest.approx(quantile, abs=5e-4)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 5.0, 300.0])
def test_closed_forms(t: float):
    """With one degree of freedom the distribution is Cauchy's; with two its function is elementary too."""
    assert student_p_value(t, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi, abs=1e-12)
    assert student_p_value(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)
    assert student_p_value(-t, 2) == student_p_value(t, 2)


def test_many_degrees_of_freedom_give_the_normal_distribution():
    assert student_p_value(1.5, 1e6) == pytest.approx(math.erfc(1.5 / math.sqrt(2)), rel=1e-5)


@pytest.mark.parametrize("freedom", [1, 2.37, 7.5, 40])
def test_quantile_and_probability_are_inverse(freedom: float):
    assert student_p_value(student_quantile(0.9875, freedom), freedom) == pytest.approx(0.0125, rel=1e-9)
