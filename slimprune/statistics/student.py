"""Student's t distribution, for any positive number of degrees of freedom."""

import math

_TERMS, _TINY, _PRECISION = 300, 1e-300, 1e-15


def student_p_value(t: float, freedom: float) -> float:
    """Return the probability of a value at least as far from zero as `t`, on either side.

    This is I_x(freedom / 2, 1 / 2) at x = freedom / (freedom + t^2), with the regularised incomplete beta function I.
    """
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def student_quantile(confidence: float, freedom: float) -> float:
    """Return the t for which the probability of a value within -t ... t is `confidence`, in (0, 1)."""
    low, high = 0.0, 1.0
    while student_p_value(high, freedom) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if student_p_value(middle, freedom) > 1 - confidence else (low, middle)
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) for x in [0, 1]."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # where the fraction converges fast
        return 1 - _incomplete_beta(1 - x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) * _continued_fraction(x, a, b) / a


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of I_x(a, b) by Lentz's method (Abramowitz and Stegun, equation 26.5.8)."""
    c, d = 1.0, 1 / (_away_from_zero(1 - (a + b) * x / (a + 1)))
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
