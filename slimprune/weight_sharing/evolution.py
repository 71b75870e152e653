"""Evolutionary search: the best candidates survive, are crossed and mutated, as in MetaPruning (Liu et al., 2019).

There survivors are evaluated once. Here each generation has images of its own, so that they are evaluated again, which
counts as any evaluation.
"""

import numpy as np

from slimprune.budget import Proportions

MUTATED, MUTATION = 0.1, 0.5
"""Probability that a width is mutated, as in that paper, and the spread of the logarithm of the factor on it."""


def draw(elite: Proportions, count: int, random: np.random.Generator) -> Proportions:
    """Return the best candidates, crossings of two of them and mutations of one, as many as these, [count, F].

    Args:
        elite: The best candidates of the former generation, [K, F].
        count: Number of candidates, at least K.
        random: Source of random numbers.
    """
    children = count - len(elite)
    crossed = _crossed(elite, children // 2, random)
    return np.concatenate([elite, crossed, _mutated(elite, children - len(crossed), random)])


def found(elite: Proportions) -> Proportions:
    """Return the best candidate, [F]."""
    best: Proportions = elite[0]
    return best


def _crossed(elite: Proportions, count: int, random: np.random.Generator) -> Proportions:
    """Return candidates that have each proportion from one of two parents, [count, F]."""
    pairs = [random.choice(len(elite), 2, replace=False) for _ in range(count)]
    mothers, fathers = elite[[pair[0] for pair in pairs]], elite[[pair[1] for pair in pairs]]
    return np.where(random.random(mothers.shape) < 0.5, mothers, fathers)


def _mutated(elite: Proportions, count: int, random: np.random.Generator) -> Proportions:
    """Return candidates in which some proportions of a parent, at least one, are changed at random, [count, F]."""
    parents = elite[random.integers(len(elite), size=count)]
    hit = random.random(parents.shape) < MUTATED
    hit[np.arange(count), random.integers(parents.shape[1], size=count)] = True
    mutated: Proportions = parents + hit * MUTATION * random.standard_normal(parents.shape)
    return mutated
