"""The mean of an effect over networks, between which the true effect may differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from slimprune.statistics.estimates import Estimate


@dataclass(frozen=True)
class RandomEffects:
    """Mean over networks.

    Attributes:
        mean: Estimated mean of the true effects, with its error.
        spread: Estimated standard deviation of the true effects between networks.
        networks: Number of networks.
    """

    mean: Estimate
    spread: float
    networks: int


def random_effects(effects: Sequence[float], errors: Sequence[float]) -> RandomEffects | None:
    """Return the mean of effects that were estimated on several networks.

    With weights w_k = 1 / (errors_k^2 + spread^2), the mean is sum(w_k effects_k) / sum(w_k). The spread is DerSimonian
    and Laird's. The squared error of the mean is Knapp and Hartung's, max(1, q) / sum(w_k) with
    q = sum(w_k (effects_k - mean)^2) / (K - 1) and K - 1 degrees of freedom. Their q without a lower bound would give
    an interval that is too narrow where the effects agree by chance.

    Source: DerSimonian and Laird, Meta-analysis in clinical trials (Controlled Clinical Trials 1986); Knapp and
    Hartung, Improved tests for a random effects meta-regression with a single covariate (Statistics in Medicine 2003).

    Args:
        effects: Estimated effects, one for each network.
        errors: Their standard errors, above 0.

    Returns:
        The mean; None for fewer than two networks.
    """
    count = len(effects)
    if count < 2:
        return None
    fixed = [error**-2 for error in errors]
    heterogeneity = _scatter(effects, fixed)
    scale = sum(fixed) - sum(weight**2 for weight in fixed) / sum(fixed)
    variance = max(0.0, (heterogeneity - (count - 1)) / scale)
    weights = [1 / (error**2 + variance) for error in errors]
    ratio = max(1.0, _scatter(effects, weights) / (count - 1))
    error = math.sqrt(ratio / sum(weights))
    return RandomEffects(Estimate(_mean(effects, weights), error, count - 1), math.sqrt(variance), count)


def _mean(effects: Sequence[float], weights: Sequence[float]) -> float:
    return sum(weight * effect for weight, effect in zip(weights, effects, strict=True)) / sum(weights)


def _scatter(effects: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted sum of squared distances from the weighted mean (Cochran's Q for fixed weights)."""
    mean = _mean(effects, weights)
    return sum(weight * (effect - mean) ** 2 for weight, effect in zip(weights, effects, strict=True))
