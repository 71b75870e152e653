import pytest

from slimprune.statistics import holm_confidences, holm_p_values


def test_the_smallest_is_multiplied_by_their_number():
    assert holm_p_values([0.03, 0.01, 0.5, 0.015]) == pytest.approx([2 * 0.03, 4 * 0.01, 0.5, 3 * 0.015])


def test_no_corrected_value_is_below_one_before_it():
    assert holm_p_values([0.01, 0.011]) == pytest.approx([0.02, 0.02])


def test_a_probability_is_at_most_one():
    assert holm_p_values([0.9, 0.8]) == [1.0, 1.0]


def test_one_comparison_is_not_corrected():
    assert holm_p_values([0.04]) == [0.04]
    assert holm_confidences([0.04]) == pytest.approx([0.95])
    assert holm_p_values([]) == []


def test_intervals_decide_as_the_values_do():
    """0.03 is the second smallest of two, 0.01 the smallest."""
    assert holm_confidences([0.03, 0.01]) == pytest.approx([0.95, 1 - 0.05 / 2])


def test_after_the_first_that_is_not_significant_no_interval_excludes_zero():
    """0.03 is not below 0.05 / 2, so 0.04 is not significant either, though it is below 0.05."""
    assert holm_p_values([0.04, 0.03]) == pytest.approx([0.06, 0.06])
    assert holm_confidences([0.04, 0.03]) == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 2])
