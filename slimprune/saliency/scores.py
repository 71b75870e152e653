"""Scores of channels: the result of the saliency step, from which a plan is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.saliency.agreement import expected_agreement, layer_agreement
from slimprune.saliency.averaging import Average, Signed
from slimprune.saliency.registry import Criterion


@dataclass(frozen=True, eq=False)
class Scores:
    """Saliency of every removable channel.

    Attributes:
        by_group: Group id -> float64 [width] on the CPU, larger = keep; all groups together sum to 1.
        criterion: Name of the criterion.
        draws: Number of independent draws that were averaged.
        stability: Expected Spearman rank correlation, over all channels, with the scores of very many draws; near 0 the
            ranking is noise, near 1 it is settled. None for a single draw. See `agreement.expected_agreement`.
        steps: Number of inner training steps; 0 if the criterion does not train.
        ratios: Whether ratios of scores mean something; otherwise only their order does, and rules get ranks.
        layer_agreement: Spearman rank correlation of the groups' mean scores between two halves of the draws: near 1,
            other draws would give the same widths. None for a single draw. See `agreement.layer_agreement`.
    """

    by_group: Mapping[str, Tensor]
    criterion: str
    draws: int
    stability: float | None
    steps: int = 0
    ratios: bool = True
    layer_agreement: float | None = None


@dataclass(frozen=True, eq=False)
class Averaged:
    """The mean of several draws and what their scatter says about it.

    Attributes:
        by_group: As in `Scores`.
        stability: As in `Scores`.
        layer_agreement: As in `Scores`.
    """

    by_group: Mapping[str, Tensor]
    stability: float | None
    layer_agreement: float | None

    def as_scores(self, criterion: Criterion, name: str, draws: int) -> Scores:
        """Return the scores of a criterion."""
        ratios = bool(getattr(criterion, "ratios", True))
        return Scores(self.by_group, name, draws, self.stability, criterion.steps, ratios, self.layer_agreement)


def average(
    draws: Sequence[Mapping[str, Tensor]], how: Average = "absolute", criterion: Criterion | Signed | None = None
) -> Averaged:
    """Return the averaged scores, their expected agreement with those of very many draws, and that of their halves.

    Each draw is first divided by the sum of its sizes over all channels. What very many draws tend to is decided by the
    criterion, not by `how`: its own average.

    Args:
        draws: Per draw, group id -> [width]: signed values of a criterion that has them, otherwise scores.
        how: Whether the sign is taken off the mean of the draws or off every draw.
        criterion: The criterion; None for scores without a sign.

    Returns:
        The scores by group, which sum to 1, and the agreements (None for one draw).
    """
    names, widths = list(draws[0]), [len(values) for values in draws[0].values()]

    def without_sign(values: Tensor) -> Tensor:
        if not isinstance(criterion, Signed):
            return values
        by_group = criterion.without_sign(dict(zip(names, values.split(widths), strict=True)))
        return torch.cat([by_group[name] for name in names])

    def averaged(some: Tensor) -> Tensor:
        return without_sign(some.mean(0)) if how == "signed" else some.mean(0)

    signed = torch.stack([_shares(_flat(draw)) for draw in draws])
    sizes = torch.stack([_shares(without_sign(_flat(draw))) for draw in draws])
    counted = signed if how == "signed" else sizes
    found = _shares(averaged(counted))
    of_signed = isinstance(criterion, Signed) and criterion.average == "signed"
    stability = expected_agreement(found, signed if of_signed else sizes, widths, without_sign if of_signed else _same)
    by_group = dict(zip(names, found.split(widths), strict=True))
    return Averaged(by_group, stability, layer_agreement(counted, widths, averaged))


def _same(values: Tensor) -> Tensor:
    return values


def _flat(draw: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([values.double().cpu() for values in draw.values()])


def _shares(values: Tensor) -> Tensor:
    total = values.abs().sum()
    return values / total if total > 0 else values
