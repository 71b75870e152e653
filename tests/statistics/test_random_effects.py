import math
from statistics import variance

import pytest

from slimprune.statistics import random_effects

BCG = (
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
    (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232),
    (17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
)  # fmt: skip
"""Cases and others among the vaccinated and among the controls of 13 trials (Colditz et al., JAMA 1994)."""


def test_a_published_example():
    """Log relative risks of the BCG vaccine: mean -0.7141, standard error 0.1787, variance between trials 0.3088."""
    effects = [math.log(a / (a + b) / (c / (c + d))) for a, b, c, d in BCG]
    errors = [math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)) for a, b, c, d in BCG]
    found = random_effects(effects, errors)
    assert found is not None
    assert found.mean.mean == pytest.approx(-0.7141, abs=5e-5)
    assert found.spread**2 == pytest.approx(0.3088, abs=5e-5)
    weights = [1 / (error**2 + found.spread**2) for error in errors]
    assert 1 / math.sqrt(sum(weights)) == pytest.approx(0.1787, abs=5e-5)
    ratio = sum(weight * (effect + 0.7141) ** 2 for weight, effect in zip(weights, effects, strict=True)) / 12
    assert found.mean.error == pytest.approx(0.1787 * math.sqrt(max(1, ratio)), abs=1e-4)
    assert (found.mean.freedom, found.networks) == (12, 13)


def test_equal_errors_give_the_interval_of_one_sample():
    effects = [1.0, 2.0, 6.0]
    found = random_effects(effects, [0.5] * 3)
    assert found is not None
    assert found.mean.mean == pytest.approx(3)
    assert found.mean.error == pytest.approx(math.sqrt(variance(effects) / 3))
    assert found.spread == pytest.approx(math.sqrt(variance(effects) - 0.5**2))


def test_effects_that_agree_by_chance_do_not_narrow_the_interval():
    found = random_effects([1.0, 1.0, 1.0], [0.3, 0.3, 0.3])
    assert found is not None
    assert found.spread == 0
    assert found.mean.error == pytest.approx(0.3 / math.sqrt(3))


def test_precise_effects_weigh_more():
    found = random_effects([0.0, 1.0], [0.1, 1.0])
    assert found is not None
    assert found.mean.mean == pytest.approx((0 / 0.01 + 1 / 1) / (1 / 0.01 + 1 / 1))


def test_one_network_has_no_mean():
    assert random_effects([1.0], [0.1]) is None
