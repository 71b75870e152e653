"""Searches in generations: each generation is drawn from the best candidates of the former one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from slimprune.budget import Proportions
from slimprune.types import WidthSearch
from slimprune.weight_sharing import cross_entropy, evolution

Evaluation = Callable[[Proportions, int], float]
"""Function from proportions, [F], and the number of their generation to the loss that is minimised."""

ELITE = 0.2
"""Share of a generation from which the next one is drawn."""


@dataclass(frozen=True)
class Generation:
    """Candidates of one generation.

    Attributes:
        losses: Loss of each candidate.
        elite: The best candidates, [K, F], the best one first.
    """

    losses: tuple[float, ...]
    elite: tuple[tuple[float, ...], ...]

    @property
    def best(self) -> float:
        """Least loss."""
        return min(self.losses)


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        draw: Function from the former generation's elite [K, F], a number of candidates and a random generator to the
            candidates of the next generation, [count, F].
        found: Function from the last generation's elite to what the search has found, [F].
        crosses: Whether candidates take single widths from others, so that they have to be of one scale.
    """

    draw: Callable[[Proportions, int, np.random.Generator], Proportions]
    found: Callable[[Proportions], Proportions]
    crosses: bool


METHODS: Mapping[WidthSearch, Method] = MappingProxyType(
    {
        "cross-entropy": Method(cross_entropy.draw, cross_entropy.found, crosses=False),
        "evolution": Method(evolution.draw, evolution.found, crosses=True),
    }
)


def search(
    method: WidthSearch,
    evaluate: Evaluation,
    first: Sequence[Proportions],
    *,
    generations: int,
    seed: int,
    scaled: Callable[[Proportions], Proportions] = lambda proportions: proportions,
    done: Sequence[Generation] = (),
    after: Callable[[Sequence[Generation]], None] = lambda generations: None,
) -> list[Generation]:
    """Return the generations of a search for the proportions of least loss.

    All methods evaluate the same number of candidates, `generations` times `len(first)`. The random numbers of a
    generation follow from the seed and its number, so a search that goes on from some generations ends with the same
    ones.

    Args:
        method: How a generation follows from the former one.
        evaluate: Loss of proportions, the same each time; losses are compared within a generation only.
        first: Candidates of the first generation, at least 2; the others have as many.
        generations: Number of generations.
        seed: Seed of the random numbers.
        scaled: Function that returns proportions of equal widths, brought to the budget; used where candidates cross.
        done: Generations that an interrupted search has finished.
        after: Called with all generations after each one.
    """
    found, way = list(done), METHODS[method]
    kept = max(2, math.ceil(ELITE * len(first)))
    while len(found) < generations:
        candidates = np.stack(first)
        if found:
            random = np.random.default_rng((seed, len(found)))
            candidates = way.draw(np.array(found[-1].elite), len(first), random)
        if way.crosses:
            candidates = np.stack([scaled(candidate) for candidate in candidates])
        losses = [evaluate(candidate, len(found)) for candidate in candidates]
        elite = candidates[np.argsort(losses, kind="stable")[:kept]]
        found.append(Generation(tuple(losses), tuple(tuple(one) for one in elite.tolist())))
        after(found)
    return found


def found_by(method: WidthSearch, generations: Sequence[Generation]) -> Proportions:
    """Return what a search has found, [F]."""
    return METHODS[method].found(np.array(generations[-1].elite))
