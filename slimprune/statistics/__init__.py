"""Statistics of comparisons: differences with intervals, corrections, means over networks, and what rankings tell."""

from slimprune.statistics.estimates import FEWEST_SEEDS, Estimate, paired_difference, welch_difference
from slimprune.statistics.holm import holm_confidences, holm_p_values
from slimprune.statistics.random_effects import RandomEffects, random_effects
from slimprune.statistics.rankings import NOISE, SETTLED
from slimprune.statistics.student import student_p_value, student_quantile

__all__ = [
    "FEWEST_SEEDS",
    "NOISE",
    "SETTLED",
    "Estimate",
    "RandomEffects",
    "holm_confidences",
    "holm_p_values",
    "paired_difference",
    "random_effects",
    "student_p_value",
    "student_quantile",
    "welch_difference",
]
