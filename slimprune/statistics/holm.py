"""Holm's correction for several comparisons that are made at once."""

from collections.abc import Sequence


def holm_p_values(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number, in the given order.

    The i-th smallest of m is multiplied by m - i + 1, and is at least as large as the corrected ones before it. With
    those below 0.05 called significant, the probability of calling any true zero significant is at most 0.05.

    Source: Holm, A simple sequentially rejective multiple test procedure (Scandinavian Journal of Statistics 1979).
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(_ascending(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def holm_confidences(p_values: Sequence[float], confidence: float = 0.95) -> list[float]:
    """Return the confidence of the interval at which each comparison is decided, in the given order.

    The i-th smallest p-value of m is compared with (1 - confidence) / (m - i + 1). From the first one that is not below
    this, all intervals have the confidence of that comparison, so that none of them excludes zero.
    """
    found, stopped, level = [0.0] * len(p_values), False, 0.0
    for rank, index in enumerate(_ascending(p_values)):
        level = level if stopped else (1 - confidence) / (len(p_values) - rank)
        stopped = stopped or p_values[index] >= level
        found[index] = 1 - level
    return found


def _ascending(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=lambda index: p_values[index])
