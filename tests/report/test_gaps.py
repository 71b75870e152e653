import math

import pytest

from slimprune.report.gaps import paired_gap


def test_the_interval_is_students_over_paired_differences():
    gap = paired_gap({"0": 91, "1": 93, "2": 95}, {"0": 90, "1": 91, "2": 92})
    # Differences 1, 2, 3: sd 1; Student's 95 % quantile for 2 degrees of freedom is 4.303.
    margin = 4.303 * 1 / math.sqrt(3)
    assert (gap.mean, gap.low, gap.high, gap.seeds) == (2, pytest.approx(2 - margin), pytest.approx(2 + margin), 3)
    assert gap.sign == 0


def test_quantiles_are_those_of_two_sided_intervals():
    # For one degree of freedom t is Cauchy's distribution, whose quantile is a tangent.
    gap = paired_gap({"0": 0, "1": 2}, {"0": 0, "1": 0})
    assert gap.high - gap.mean == pytest.approx(math.tan(math.pi * 0.475) * math.sqrt(2) / math.sqrt(2), rel=1e-4)


def test_many_seeds_have_the_last_quantile():
    many = {str(seed): seed % 2 for seed in range(100)}
    gap = paired_gap(many, dict.fromkeys(many, 0))
    assert gap.high - gap.mean == pytest.approx(2.042 * math.sqrt(100 * 0.25 / 99) / 10)


@pytest.mark.parametrize(("first", "second", "sign"), [(2.0, 2.1, 1), (-2.0, -2.1, -1), (2.0, -2.1, 0), (0.0, 0.0, 0)])
def test_the_sign_is_told_where_the_interval_leaves_no_doubt(first, second, sign):
    assert paired_gap({"0": first, "1": second}, {"0": 0, "1": 0}).sign == sign


def test_only_shared_seeds_count():
    gap = paired_gap({"0": 5, "1": 99}, {"0": 4, "2": 0})
    assert (gap.mean, gap.low, gap.high, gap.seeds, gap.sign) == (1, None, None, 1, 0)
    assert paired_gap({"0": 1}, {"1": 1}) is None
