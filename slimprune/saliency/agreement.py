"""How far scores agree with those of very many draws, and the ranking of layers with that of other draws."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slimprune.saliency.ranks import spearman

SAMPLES = 32
"""Number of plausible results of very many draws with which scores are compared."""
POOLED = 4
"""Weight, in draws, of a group's mean variance beside that of one channel, of which few draws tell little."""


def expected_agreement(
    scores: Tensor, draws: Tensor, widths: Sequence[int], without_sign: Callable[[Tensor], Tensor]
) -> float | None:
    """Return the expected Spearman correlation, over all channels, of scores with those of very many draws.

    Two halves of the draws may agree although neither says anything about a channel: mean absolute values tend to
    the amplitude of the noise, which differs from layer to layer. So the noise is taken out (empirical Bayes). A
    channel's mean m over D draws has the variance v = s^2 / D. Within a group, the limits of these means have the
    variance t = var(m) - mean(v), at least 0. The limit of a channel is then normal with the mean M + k * (m - M) and
    the variance k * v, for k = t / (t + v) and the group's mean M, which is drawn towards the mean of all groups in
    the same way. Limits are sampled, and the correlations with them averaged.

    Args:
        scores: The scores to judge, [C].
        draws: The draws whose mean counts in the limit, signed if the sign is taken off their mean, [D, C].
        widths: Number of channels of every group; they sum to C.
        without_sign: (values [C]) -> scores [C].

    Returns:
        The expected correlation; None for one draw, which does not show its scatter.
    """
    count = len(draws)
    if count < 2:
        return None
    mean, variance = draws.mean(0), draws.var(0)
    pooled = _spread_out([part.mean() for part in variance.split(list(widths))], widths)
    noise = ((count - 1) * variance + POOLED * pooled) / (count - 1 + POOLED) / count
    centre, factor = _shrunk(mean, noise, widths)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(SAMPLES):
        deviation = (factor * noise).sqrt() * torch.randn(len(mean), generator=generator, dtype=mean.dtype)
        found.append(spearman(scores, without_sign(centre + factor * (mean - centre) + deviation)))
    return sum(found) / len(found)


def layer_agreement(draws: Tensor, widths: Sequence[int], averaged: Callable[[Tensor], Tensor]) -> float | None:
    """Return the Spearman correlation of the groups' mean scores between two halves of the draws.

    It says whether other draws would order the layers alike, so that a rule would give them the same widths. It does
    not say that the layers' order is that of very many draws: the amplitude of the noise is as reproducible.

    Args:
        draws: The draws, [D, C].
        widths: Number of channels of every group; they sum to C.
        averaged: (some of the draws [d, C]) -> scores [C].

    Returns:
        The correlation; None for one draw, and for fewer than three groups, of which it says little.
    """
    if len(draws) < 2 or len(widths) < 3:
        return None
    one, other = (averaged(half).split(list(widths)) for half in draws.tensor_split(2))
    return spearman(torch.stack([part.mean() for part in one]), torch.stack([part.mean() for part in other]))


def _shrunk(mean: Tensor, noise: Tensor, widths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return for every channel the centre of its group and the share of the deviation from it that is no noise."""
    means, noises = mean.split(list(widths)), noise.split(list(widths))
    centres = torch.stack([part.mean() for part in means])
    blur = torch.stack([part.mean() / len(part) for part in noises])
    kept = _signal(centres, blur) / (_signal(centres, blur) + blur).clamp_min(_TINY)
    centres = centres.mean() + kept * (centres - centres.mean())
    factors = []
    for part, scatter in zip(means, noises, strict=True):
        signal = _signal(part, scatter)
        factors.append(signal / (signal + scatter).clamp_min(_TINY))
    return _spread_out(list(centres), widths), torch.cat(factors)


_TINY = torch.finfo(torch.float64).tiny


def _signal(values: Tensor, noise: Tensor) -> Tensor:
    """Return the variance of values without that of their noise, at least 0."""
    return (values.var(correction=0) - noise.mean()).clamp_min(0)


def _spread_out(by_group: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    return torch.cat([value.expand(width) for value, width in zip(by_group, widths, strict=True)])
