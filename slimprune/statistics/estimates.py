"""Estimates with a standard error, and the difference of two samples as one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, variance

from slimprune.statistics.student import student_p_value, student_quantile

FEWEST_SEEDS = 3
"""Minimum number of results in each sample. With two an interval is unreliable: results are shares of a test set, so
that two may be equal by chance."""


@dataclass(frozen=True)
class Estimate:
    """An estimate whose error follows Student's t distribution.

    Attributes:
        mean: Estimated value.
        error: Its standard error, above 0.
        freedom: Degrees of freedom of the standard error.
    """

    mean: float
    error: float
    freedom: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return both ends of the interval that covers the true value with a probability of `confidence`."""
        margin = student_quantile(confidence, self.freedom) * self.error
        return self.mean - margin, self.mean + margin

    @property
    def p_value(self) -> float:
        """Probability of an estimate at least as far from zero if the true value is zero."""
        return student_p_value(self.mean / self.error, self.freedom)


def welch_difference(one: Mapping[str, float], other: Mapping[str, float]) -> Estimate | None:
    """Return mean(one) - mean(other) for independent samples of any variances, each given as {seed: result}.

    Source: Welch, The generalization of Student's problem when several different population variances are involved
    (Biometrika 1947), with Satterthwaite's degrees of freedom.

    Returns:
        The difference; None if a sample has fewer than three results, or no result differs from another.
    """
    samples = [list(sample.values()) for sample in (one, other)]
    if min(map(len, samples)) < FEWEST_SEEDS:
        return None
    parts = [variance(sample) / len(sample) for sample in samples]
    if sum(parts) == 0:
        return None
    freedom = sum(parts) ** 2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    return Estimate(fmean(samples[0]) - fmean(samples[1]), math.sqrt(sum(parts)), freedom)


def paired_difference(one: Mapping[str, float], other: Mapping[str, float]) -> Estimate | None:
    """Return the mean difference of two samples, each given as {seed: result}, over the seeds that both have.

    Returns:
        The difference; None if fewer than three seeds are shared, or all differences are equal.
    """
    differences = [value - other[seed] for seed, value in one.items() if seed in other]
    if len(differences) < FEWEST_SEEDS or variance(differences) == 0:
        return None
    count = len(differences)
    return Estimate(fmean(differences), math.sqrt(variance(differences) / count), count - 1)
