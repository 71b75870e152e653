"""Iterative pruning: channels are removed a few at a time, and the rest is scored again without them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.problem import Problem
from slimprune.saliency.target import Target

ByGroup = Mapping[str, Tensor]
"""Group id -> [width]: gates (1 for a channel that stays, 0 for a removed one) or scores."""


def exponential(density: float, rounds: int) -> list[float]:
    """Return the shares that stay after each round, density ** (k / rounds) for k = 1 ... rounds.

    Each round removes the same fraction of what is left.

    Source: the exponential decay of de Jorge et al., Progressive Skeletonization (ICLR 2021); Tanaka et al.,
    SynFlow (NeurIPS 2020), algorithm 1.

    Examples:
        >>> exponential(0.01, 2)
        [0.1, 0.01]
    """
    return [density ** (k / rounds) for k in range(1, rounds + 1)]


@dataclass(frozen=True)
class IterativePruning:
    """Rounds of pruning on an exponential schedule towards the target of the problem.

    Attributes:
        rounds: How often the channels are scored, at least once.
    """

    rounds: int

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"expected rounds >= 1, got {self.rounds}")

    def scores_after_rounds(
        self, problem: Problem, target: Target, sensitivity: Callable[[ByGroup, int], ByGroup], *, may_return: bool
    ) -> ByGroup:
        """Return the scores at the gates of the last round.

        The last removal is left to the allocation: with one round the scores are those at open gates.

        Args:
            problem: The groups, and the dtype and device of the gates.
            target: How many channels stay after each round, and which.
            sensitivity: (gates, round) -> non-negative scores [width] by group.
            may_return: Whether a removed channel is scored and may come back; otherwise its score is 0 from then on.
        """
        everyone = {group.id: problem.initial.new_ones(group.width) for group in problem.groups}
        gates = everyone
        for step, share in enumerate(exponential(target.density, self.rounds)[:-1]):
            candidates = everyone if may_return else gates
            stays = target.narrow(_ranked(sensitivity(gates, step), candidates), share)
            gates = {group: stays[group].to(candidate) * candidate for group, candidate in candidates.items()}
        candidates = everyone if may_return else gates
        return {group: scores * candidates[group] for group, scores in sensitivity(gates, self.rounds - 1).items()}


def target_of(problem: Problem, criterion: str) -> Target:
    """Return the target of a problem.

    Raises:
        UsageError: If the problem has no target.
    """
    if problem.target is None:
        raise UsageError(f"criterion {criterion} narrows towards a budget: pass target=...")
    return problem.target


def connection_sensitivity(problem: Problem, gates: ByGroup, step: int) -> dict[str, Tensor]:
    """Return | sum of initial weight * gradient at the gated weights | for each gate, on batch `step`.

    A removed channel has a value too: the product of its initial weights with the gradient at weights of 0.
    """
    gradient = problem.gradient(problem.gated(gates), step)
    return {group: values.abs() for group, values in problem.gate_gradient(gradient).items()}


def _ranked(scores: ByGroup, candidates: ByGroup) -> dict[str, Tensor]:
    """Return scores as a target takes them: float64 on the CPU, 0 for excluded channels and above 0 for candidates."""
    least = torch.finfo(torch.float64).tiny
    return {group: values.cpu().double().clamp_min(least) * candidates[group].cpu() for group, values in scores.items()}
