import math

import pytest

from slimprune.report.paired_differences import corrected, paired_gap


def test_the_interval_is_students_over_paired_differences():
    gap = paired_gap({"0": 91, "1": 93, "2": 95}, {"0": 90, "1": 91, "2": 92})
    # Differences 1, 2, 3: sd 1; Student's 95 % quantile for 2 degrees of freedom is 4.303.
    margin = 4.303 * 1 / math.sqrt(3)
    assert (gap.mean, gap.low, gap.high, gap.seeds) == (
        2,
        pytest.approx(2 - margin, abs=1e-3),
        pytest.approx(2 + margin, abs=1e-3),
        3,
    )
    assert gap.sign == 0


@pytest.mark.parametrize(("first", "second", "sign"), [(2.0, 2.1, 1), (-2.0, -2.1, -1), (2.0, -2.1, 0), (2.0, 2.0, 0)])
def test_the_sign_is_told_where_the_interval_leaves_no_doubt(first, second, sign):
    gap = paired_gap({"0": first, "1": second, "2": first}, dict.fromkeys("012", 0))
    assert gap.sign == sign


def test_only_shared_seeds_count_and_less_than_three_have_no_interval():
    gap = paired_gap({"0": 5, "1": 6, "3": 99}, {"0": 4, "1": 5, "2": 0})
    assert (gap.mean, gap.low, gap.high, gap.seeds, gap.sign) == (1, None, None, 2, 0)
    assert paired_gap({"0": 1}, {"1": 1}) is None


def test_intervals_of_several_gaps_are_wider_the_more_there_are():
    """The gap of the lowest p-value is judged as one of two, the other as the last one; without an interval none is."""
    near = paired_gap({"0": 1, "1": 3, "2": 2}, dict.fromkeys("012", 0))
    far = paired_gap({"0": 10, "1": 12, "2": 11}, dict.fromkeys("012", 0))
    few = paired_gap({"0": 1}, {"0": 0})
    found = corrected([near, None, far, few])
    assert [found[1], found[3]] == [None, few]
    assert (found[0].confidence, found[2].confidence) == pytest.approx((0.95, 1 - 0.05 / 2))
    assert found[0].p_value == pytest.approx(near.p_value)
    assert found[2].p_value == pytest.approx(2 * far.p_value)
    assert found[2].high - found[2].low > far.high - far.low
