import math

import pytest
import torch

from slimprune.report.paired_differences import STUDENT_95, paired_gap


def test_the_interval_is_students_over_paired_differences():
    gap = paired_gap({"0": 91, "1": 93, "2": 95}, {"0": 90, "1": 91, "2": 92})
    # Differences 1, 2, 3: sd 1; Student's 95 % quantile for 2 degrees of freedom is 4.303.
    margin = 4.303 * 1 / math.sqrt(3)
    assert (gap.mean, gap.low, gap.high, gap.seeds) == (2, pytest.approx(2 - margin), pytest.approx(2 + margin), 3)
    assert gap.sign == 0


def test_quantiles_are_those_of_two_sided_intervals():
    """Against the distribution's own density, summed up: (1 + t ** 2 / n) ** (-(n + 1) / 2), normed."""
    for freedom, quantile in enumerate(STUDENT_95, start=1):
        grid = torch.linspace(0, 4000 if freedom == 1 else 400, 400_001, dtype=torch.float64)
        density = (1 + grid**2 / freedom) ** (-(freedom + 1) / 2)
        inside = torch.trapezoid(density[grid <= quantile], grid[grid <= quantile])
        assert float(inside / torch.trapezoid(density, grid)) == pytest.approx(0.95, abs=3e-4)


def test_many_seeds_have_the_last_quantile():
    many = {str(seed): seed % 2 for seed in range(100)}
    gap = paired_gap(many, dict.fromkeys(many, 0))
    assert gap.high - gap.mean == pytest.approx(2.042 * math.sqrt(100 * 0.25 / 99) / 10)


@pytest.mark.parametrize(("first", "second", "sign"), [(2.0, 2.1, 1), (-2.0, -2.1, -1), (2.0, -2.1, 0), (2.0, 2.0, 0)])
def test_the_sign_is_told_where_the_interval_leaves_no_doubt(first, second, sign):
    gap = paired_gap({"0": first, "1": second, "2": first}, dict.fromkeys("012", 0))
    assert gap.sign == sign


def test_only_shared_seeds_count_and_less_than_three_have_no_interval():
    gap = paired_gap({"0": 5, "1": 6, "3": 99}, {"0": 4, "1": 5, "2": 0})
    assert (gap.mean, gap.low, gap.high, gap.seeds, gap.sign) == (1, None, None, 2, 0)
    assert paired_gap({"0": 1}, {"1": 1}) is None
