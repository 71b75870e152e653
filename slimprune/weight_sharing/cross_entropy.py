"""The cross-entropy method: random search that narrows down to the best candidates (Rubinstein and Kroese, 2004)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slimprune.budget import Proportions

Evaluation = Callable[[Proportions, int], float]
"""Function from proportions, [F], and the number of their generation to the loss that is minimised."""

ELITE = 0.2
"""Share of a generation from which the next one is drawn."""
NARROWING, LEAST_SPREAD = 0.8, 0.03
"""Factor on the elite's spread, and the least spread added to it."""


@dataclass(frozen=True)
class Generation:
    """Candidates of one generation.

    Attributes:
        losses: Loss of each candidate.
        mean: Mean of the best candidates, [F].
        spread: Standard deviation of the next generation, [F].
    """

    losses: tuple[float, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @property
    def best(self) -> float:
        """Least loss."""
        return min(self.losses)


def evolve(
    evaluate: Evaluation,
    first: Sequence[Proportions],
    *,
    generations: int,
    seed: int,
    done: Sequence[Generation] = (),
    after: Callable[[Sequence[Generation]], None] = lambda generations: None,
) -> list[Generation]:
    """Return the generations of a search for the proportions of least loss.

    The random numbers of a generation follow from the seed and its number, so a search that goes on from some
    generations ends with the same ones.

    Args:
        evaluate: Loss of proportions, the same each time; losses are compared within a generation only.
        first: Candidates of the first generation, at least 2; the others have as many.
        generations: Number of generations.
        seed: Seed of the random numbers.
        done: Generations that an interrupted search has finished.
        after: Called with all generations after each one.
    """
    found = list(done)
    elite = max(2, math.ceil(ELITE * len(first)))
    while len(found) < generations:
        candidates = _drawn(found[-1], len(first), (seed, len(found))) if found else np.stack(first)
        losses = [evaluate(candidate, len(found)) for candidate in candidates]
        best = candidates[np.argsort(losses, kind="stable")[:elite]]
        spread = NARROWING * best.std(0) + LEAST_SPREAD
        found.append(Generation(tuple(losses), tuple(best.mean(0).tolist()), tuple(spread.tolist())))
        after(found)
    return found


def _drawn(former: Generation, count: int, seed: tuple[int, int]) -> NDArray[np.float64]:
    """Return candidates around the mean of the former generation, which is one of them, [count, F]."""
    steps = np.random.default_rng(seed).standard_normal((count, len(former.mean)))
    steps[0] = 0
    candidates: NDArray[np.float64] = np.array(former.mean) + np.array(former.spread) * steps
    return candidates
