"""The cross-entropy method: random search that narrows down to the best candidates (Rubinstein and Kroese, 2004)."""

import numpy as np

from slimprune.budget import Proportions

NARROWING, LEAST_SPREAD = 0.8, 0.03
"""Factor on the elite's spread, and the least spread added to it."""


def draw(elite: Proportions, count: int, random: np.random.Generator) -> Proportions:
    """Return candidates around the mean of the best ones, which is one of them, [count, F].

    Args:
        elite: The best candidates of the former generation, [K, F].
        count: Number of candidates.
        random: Source of random numbers.
    """
    steps = random.standard_normal((count, elite.shape[1]))
    steps[0] = 0
    candidates: Proportions = found(elite) + (NARROWING * elite.std(0) + LEAST_SPREAD) * steps
    return candidates


def found(elite: Proportions) -> Proportions:
    """Return the mean of the best candidates, [F]."""
    mean: Proportions = elite.mean(0)
    return mean
