import math

import pytest

from slimprune.statistics import Estimate, paired_difference, student_quantile, welch_difference


def by_seed(*results: float) -> dict[str, float]:
    return {str(seed): result for seed, result in enumerate(results)}


def test_welch():
    """Means 92 and 91, variances 4 and 1 over three seeds each."""
    found = welch_difference(by_seed(90, 92, 94), by_seed(90, 91, 92))
    assert found is not None
    assert found.mean == 1
    assert found.error == pytest.approx(math.sqrt(4 / 3 + 1 / 3))
    assert found.freedom == pytest.approx((4 / 3 + 1 / 3) ** 2 / ((4 / 3) ** 2 / 2 + (1 / 3) ** 2 / 2))


def test_welch_on_a_published_example():
    """Student's sleep data (Biometrika 1908): t = -1.8608, 17.776 degrees of freedom, p = 0.0794, -3.365 to 0.205."""
    first = by_seed(0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
    second = by_seed(1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)
    found = welch_difference(first, second)
    assert found is not None
    assert found.mean / found.error == pytest.approx(-1.8608, abs=5e-5)
    assert found.freedom == pytest.approx(17.776, abs=5e-4)
    assert found.p_value == pytest.approx(0.07939, abs=5e-6)
    assert found.interval() == pytest.approx((-3.3654832, 0.2054832), abs=1e-6)
    paired = paired_difference(first, second)
    assert paired is not None
    assert paired.mean / paired.error == pytest.approx(-4.0621, abs=5e-5)
    assert (paired.freedom, paired.p_value) == pytest.approx((9, 0.002833), abs=5e-7)


def test_pairs_are_of_equal_seeds():
    found = paired_difference({"0": 1, "1": 3, "2": 8, "9": 99}, {"2": 5, "1": 1, "0": 0, "8": -99})
    assert found is not None
    assert (found.mean, found.freedom) == ((1 + 2 + 3) / 3, 2)
    assert found.error == pytest.approx(1 / math.sqrt(3))


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, 2), (3, 4, 5)), ((1, 2, 3), (1,)), ((), ()), ((5, 5, 5), (4, 4, 4))],
)
def test_too_little_to_tell(one: tuple[float, ...], other: tuple[float, ...]):
    assert welch_difference(by_seed(*one), by_seed(*other)) is None
    assert paired_difference(by_seed(*one), by_seed(*other)) is None


def test_the_interval_widens_with_its_confidence():
    low, high = Estimate(2.0, 0.5, 4).interval(0.99)
    assert (high - low) / 2 == pytest.approx(0.5 * student_quantile(0.99, 4))
    assert (high + low) / 2 == 2
