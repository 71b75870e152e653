"""Scores of single weights: the criteria of channels, with a gate for each weight of a parameter."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from slimprune.forward import ForwardFn, Loss
from slimprune.graph import ChannelGroup
from slimprune.ranks.group import ALONE, Ranks
from slimprune.saliency.agreement import expected_agreement, layer_agreement
from slimprune.saliency.averaging import Average, Signed, average_of
from slimprune.saliency.problem import AnyBatch, Problem
from slimprune.saliency.registry import Criterion, check_unit
from slimprune.saliency.score import (
    batches_of_draws,
    check_precision,
    chosen_criterion,
    drawn_scores,
    number_of_draws,
    scorable_groups,
    tell_draws,
)
from slimprune.saliency.scores import Averaged, Scores
from slimprune.saliency.target import Target
from slimprune.types import Listener, ignore

JUDGED = 65_536
"""Most weights of which the agreement of the draws is estimated, drawn at random."""


@dataclass(frozen=True, eq=False)
class WeightProblem(Problem):
    """A scoring problem whose groups are parameters, by name, with one gate for each of their weights.

    Gates multiply the initial weights once, c * w. The groups have no slots, and `gate` has no effect.
    """

    unit: ClassVar[str] = "weight"

    def gate_gradient(self, adjoint: Tensor) -> dict[str, Tensor]:
        """Return the derivative adjoint * initial weight for every gate, by parameter, signed [numel]."""
        products = self.named(adjoint * self.initial)
        return {group.id: products[group.id].flatten() for group in self.groups}

    def magnitudes(self) -> dict[str, Tensor]:
        """Return |w| by parameter, [numel]."""
        weights = self.named(self.initial)
        return {group.id: weights[group.id].flatten().abs() for group in self.groups}

    def gated(self, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the initial weights [P] times their gates; parameters that are left out keep their weights."""
        weights = self.named(self.initial)
        for name, gate in gates.items():
            weights[name] = weights[name] * gate.to(weights[name]).view_as(weights[name])
        return torch.cat([weight.flatten() for weight in weights.values()])


def score_weights(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    batches: Iterable[AnyBatch],
    loss: Loss,
    *,
    criterion: str | Criterion = "prospr",
    draws: int = 1,
    dtype: torch.dtype = torch.float32,
    average: Average | None = None,
    seed: int = 0,
    target: Target | None = None,
    progress: Listener = ignore,
    forward_fn: ForwardFn | None = None,
    ranks: Ranks = ALONE,
) -> Scores:
    """Score every weight of the unprotected groups; `score` does the same for channels.

    Args:
        model: The network to score, on the device where scoring is to run; it is not modified.
        groups: One group without slots for each parameter, named like it; its width is the number of its entries.
        batches: As for `score`.
        loss: As for `score`.
        criterion: A name from the registry, or a criterion with options; one that scores weights.
        draws: Number of independent draws; a deterministic criterion makes only one.
        dtype: Dtype of the whole computation.
        average: How draws are averaged, as for `score`.
        seed: Seed of dropout and of random criteria.
        target: Target of criteria that prune iteratively.
        progress: Called with ("score", number of finished draws, total, name of the criterion).
        forward_fn: As for `score`.
        ranks: As for `score`.

    Returns:
        The averaged scores, [numel] by name of the parameter. Their stability is that of at most `JUDGED` weights.

    Raises:
        UsageError: If the criterion is unknown or does not score weights, or draws < 1.
        DataError: If there are fewer batches than needed.
        UnsupportedModelError: If there is nothing to score, the model is fully frozen, or the criterion fails on it.
        SlimpruneError: If scores are not finite.
    """
    chosen, name = chosen_criterion(criterion)
    check_unit(name, chosen, "weights")
    how, draws = average_of(name, chosen, average), number_of_draws(chosen, draws)
    free = scorable_groups(groups)
    check_precision(model, dtype)
    problem = replace(WeightProblem.prepare(model, free, loss, "consumer", dtype, forward_fn), seed=seed, target=target)
    parts = batches_of_draws(batches, draws, chosen.batches_per_draw)
    results = drawn_scores(chosen, problem, parts, partial(tell_draws, progress, name, draws), ranks)
    return _averaged(results, how, chosen, free).as_scores(chosen, name, draws)


def _averaged(
    draws: Iterable[Mapping[str, Tensor]], how: Average, criterion: Criterion, groups: Sequence[ChannelGroup]
) -> Averaged:
    """Return the average of the draws, which sums to 1, and how well a few of the weights agree between draws.

    Networks have millions of weights, so the draws are summed one by one, and a few weights are kept of each.
    """
    widths = [group.width for group in groups]
    judged = _judged_weights(widths)
    total, kept, count = torch.zeros(sum(widths), dtype=torch.float64), [], 0
    for draw in draws:
        values = torch.cat([values.double().cpu() for values in draw.values()])
        if how == "absolute":
            values = _without_sign(criterion, values)
        total += values / values.abs().sum()
        kept.append(values[torch.cat(judged)] / values.abs().sum())
        count += 1
    found = _without_sign(criterion, total / count) if how == "signed" else total / count
    found = found / found.sum()
    few, counts = torch.stack(kept), [len(part) for part in judged]
    sign_off = partial(_without_sign, criterion) if how == "signed" else _same
    stability = expected_agreement(found[torch.cat(judged)], few, counts, sign_off)
    of_layers = layer_agreement(few, counts, lambda some: sign_off(some.mean(0)))
    by_group = dict(zip((group.id for group in groups), found.split(widths), strict=True))
    return Averaged(by_group, stability, of_layers)


def _judged_weights(widths: Sequence[int]) -> list[Tensor]:
    """Return positions of at most about `JUDGED` weights, the same share of every parameter and at least one."""
    generator, start, found = torch.Generator().manual_seed(0), 0, []
    share = min(1.0, JUDGED / sum(widths))
    for width in widths:
        count = max(1, int(share * width))
        found.append(start + torch.randperm(width, generator=generator)[:count].sort().values)
        start += width
    return found


def _without_sign(criterion: Criterion, values: Tensor) -> Tensor:
    return criterion.without_sign({"all": values})["all"] if isinstance(criterion, Signed) else values


def _same(values: Tensor) -> Tensor:
    return values
