"""Scores of channels: the result of the saliency step, from which a plan is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """Saliency of every removable channel.

    Attributes:
        by_group: Group id -> float64 [width] on the CPU, larger = keep; all groups together sum to 1.
        criterion: Name of the criterion.
        draws: Number of independent draws that were averaged.
        stability: Spearman rank correlation, over all channels, between the averages of two halves of the draws;
            near 0 the ranking is noise, near 1 it is settled. None for a single draw.
        steps: Number of inner training steps; 0 if the criterion does not train.
    """

    by_group: Mapping[str, Tensor]
    criterion: str
    draws: int
    stability: float | None
    steps: int = 0


def average(draws: Sequence[Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], float | None]:
    """Return the mean of the draws and the stability of their ranking.

    Args:
        draws: Per draw, group id -> non-negative [width]; each draw is first divided by its sum over all channels.

    Returns:
        The averaged scores by group, and the Spearman correlation of two interleaved halves (None for one draw).
    """
    shares = torch.stack([_shares(draw) for draw in draws])
    widths = [len(scores) for scores in draws[0].values()]
    mean = dict(zip(draws[0], shares.mean(0).split(widths), strict=True))
    stability = spearman(shares[0::2].mean(0), shares[1::2].mean(0)) if len(draws) > 1 else None
    return mean, stability


def spearman(one: Tensor, other: Tensor) -> float:
    """Return the Spearman rank correlation of two vectors [N].

    Tied values get their mean rank. The result is 0 if one vector is constant.
    """
    ranks = torch.stack([_ranks(one), _ranks(other)])
    centred = ranks - ranks.mean(1, keepdim=True)
    norms = centred.norm(dim=1)
    return float((centred[0] @ centred[1]) / (norms[0] * norms[1])) if bool((norms > 0).all()) else 0.0


def _shares(draw: Mapping[str, Tensor]) -> Tensor:
    scores = torch.cat([scores.double().cpu() for scores in draw.values()])
    return scores / scores.sum()


def _ranks(values: Tensor) -> Tensor:
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = counts.cumsum(0).double() - (counts - 1) / 2
    return ranks[inverse]
