"""The choice of the weights that stay: how many in each layer by a rule, and then which."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slimprune.errors import BudgetError, UsageError
from slimprune.masks.layers import PrunableWeight
from slimprune.saliency import Scores, Target

ByName = Mapping[str, Tensor]
"""Name of a weight -> scores, float64 [count] on the CPU."""


@dataclass(frozen=True)
class MaskRule:
    """How the weights that stay are divided among the layers.

    Attributes:
        name: Name of the rule.
        description: One line for users.
        least: Number of weights that every layer keeps at least.
        stays: (layers, their scores, weights that stay in all) -> bool [count] by name, True for a weight that stays:
            one with the highest scores of its layer.
    """

    name: str
    description: str
    least: int
    stays: Callable[[Sequence[PrunableWeight], ByName, int], dict[str, Tensor]]


def _global(layers: Sequence[PrunableWeight], scores: ByName, keep: int) -> dict[str, Tensor]:
    stays = best(torch.cat([scores[layer.name] for layer in layers]), keep)
    parts = stays.split([layer.count for layer in layers])
    return {layer.name: part for layer, part in zip(layers, parts, strict=True)}


def _layer_wise(layers: Sequence[PrunableWeight], scores: ByName, keep: int) -> dict[str, Tensor]:
    share = keep / sum(layer.count for layer in layers)
    return {layer.name: best(scores[layer.name], max(1, round(share * layer.count))) for layer in layers}


def _erdos_renyi(layers: Sequence[PrunableWeight], scores: ByName, keep: int) -> dict[str, Tensor]:
    return {name: best(scores[name], count) for name, count in _erdos_renyi_counts(layers, keep).items()}


def _erdos_renyi_counts(layers: Sequence[PrunableWeight], keep: int) -> dict[str, int]:
    """Return how many weights of each layer stay.

    Densities are in proportion to the sum of a weight's dimensions over their product, at most 1. Layers whose density
    would exceed 1 keep all their weights, and the others share what is left.
    """
    full: set[str] = set()
    while True:
        rest = [layer for layer in layers if layer.name not in full]
        left = keep - sum(layer.count for layer in layers if layer.name in full)
        factor = left / max(1, sum(sum(layer.shape) for layer in rest))
        more = {layer.name for layer in rest if factor * sum(layer.shape) > layer.count}
        if not more:
            counts = {layer.name: max(1, round(factor * sum(layer.shape))) for layer in rest}
            return {layer.name: counts.get(layer.name, layer.count) for layer in layers}
        full |= more


MASK_RULES: Mapping[str, MaskRule] = {
    rule.name: rule
    for rule in (
        MaskRule("global", "one threshold over the scores of all weights", 0, _global),
        MaskRule("layer-wise", "the same share of every layer, by its own threshold", 1, _layer_wise),
        MaskRule("erk", "Erdos-Renyi-Kernel densities, a threshold in each layer (Evci et al., 2020)", 1, _erdos_renyi),
    )
}


def find_mask_rule(name: str) -> MaskRule:
    """Return the rule called `name`.

    Raises:
        UsageError: If there is no such rule.
    """
    if name not in MASK_RULES:
        raise UsageError(f"expected a rule for weights ({', '.join(MASK_RULES)}), got {name!r}")
    return MASK_RULES[name]


def check_sparsity(layers: Sequence[PrunableWeight], ratio: float, rule: str) -> None:
    """Check that a share of all weights can be masked.

    Raises:
        BudgetError: If protected layers or the rule leave more, or nothing would be left.
        UsageError: If the rule is unknown.
    """
    free = [layer for layer in layers if layer.protected_reason is None]
    total, chosen = sum(layer.count for layer in layers), find_mask_rule(rule)
    least = total - sum(layer.count for layer in free) + max(1, chosen.least * len(free))
    if not free or round((1 - ratio) * total) < least:
        why = "the protected layers" if len(free) < len(layers) else f"rule {rule}"
        raise BudgetError(
            f"expected to mask at most {max(0, total - least):,} of {total:,} weights beside {why}, got a ratio of "
            f"{ratio:.6g}, which masks {total - round((1 - ratio) * total):,}"
        )


def choose_masks(
    scores: Scores,
    layers: Sequence[PrunableWeight],
    ratio: float,
    *,
    rule: str = "global",
    twin: str | None = None,
    seed: int = 0,
    within: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the masks of the weights that stay.

    Of all weights, protected ones included, a share of `ratio` is masked; by rules with a threshold in each layer, up
    to rounding. Among equal scores the earlier layer wins, then the lower position.

    Args:
        scores: Scores by name of the weight, [count].
        layers: All weights of the model.
        ratio: Share to mask, in (0, 1).
        rule: How the rest is divided among the layers: one of `MASK_RULES`.
        twin: `shuffle` for random weights of each layer, `invert` for those with its lowest scores, as many as the rule
            leaves; None for those with the highest scores.
        seed: Seed of `shuffle`.
        within: Masks of an earlier round, by name; weights that are masked there stay masked, except with `shuffle`.

    Returns:
        Name of every weight that is not protected -> bool of its shape on the CPU, True for an entry that stays.

    Raises:
        BudgetError: If so many weights cannot be masked.
        UsageError: If rule or twin is unknown, or scores are missing.

    Source: the twins are those of Frankle et al., Pruning Neural Networks at Initialization: Why Are We Missing the
    Mark? (ICLR 2021).
    """
    check_sparsity(layers, ratio, rule)
    free = [layer for layer in layers if layer.protected_reason is None]
    for layer in free:
        if len(scores.by_group.get(layer.name, ())) != layer.count:
            raise UsageError(f"expected scores of the {layer.count} weights of {layer.name}, got none")
    if twin is not None and twin not in TWINS:
        raise UsageError(f"expected a twin ({', '.join(TWINS)}), got {twin!r}")
    by_name = scores.by_group if within is None else _restricted(scores.by_group, within)
    stays = _stays(layers, by_name, 1 - ratio, rule)
    counts = {name: int(mask.count_nonzero()) for name, mask in stays.items()}
    if twin == "invert":
        inverted = {name: -values for name, values in scores.by_group.items()}
        by_name = inverted if within is None else _restricted(inverted, within)
        stays = {name: best(by_name[name], count) for name, count in counts.items()}
    elif twin == "shuffle":
        generator = torch.Generator().manual_seed(seed)
        stays = {name: _shuffled(by_name[name], count, generator) for name, count in counts.items()}
    return {layer.name: stays[layer.name].view(layer.shape) for layer in free}


def shuffled(masks: Mapping[str, Tensor], *, seed: int) -> dict[str, Tensor]:
    """Return masks that leave as many weights of every layer, but random ones.

    Args:
        masks: Name of a weight -> bool of its shape, True for an entry that stays.
        seed: Seed of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: _shuffled(mask.flatten(), int(mask.sum()), generator).view(mask.shape) for name, mask in masks.items()
    }


def _restricted(scores: ByName, within: Mapping[str, Tensor]) -> ByName:
    """Return the scores, below all others where a weight is masked already."""
    return {name: values.masked_fill(~within[name].flatten(), -torch.inf) for name, values in scores.items()}


def weight_target(layers: Sequence[PrunableWeight], ratio: float, *, rule: str = "global") -> Target:
    """Return the target of iterative criteria: in each round what the rule leaves of the weights.

    Raises:
        UsageError: If the rule is unknown or the ratio is outside (0, 1).
    """
    find_mask_rule(rule)

    def narrow(scores: ByName, share: float) -> dict[str, Tensor]:
        return _stays(layers, scores, share, rule)

    return Target(1 - ratio, narrow)


def _stays(layers: Sequence[PrunableWeight], scores: ByName, share: float, rule: str) -> dict[str, Tensor]:
    """Return which weights of each layer that is not protected stay if a share of all weights does."""
    free = [layer for layer in layers if layer.protected_reason is None]
    total = sum(layer.count for layer in layers)
    protected = total - sum(layer.count for layer in free)
    return find_mask_rule(rule).stays(free, scores, max(1, round(share * total) - protected))


def best(scores: Tensor, count: int) -> Tensor:
    """Return a bool [N] that is True for the `count` highest scores; among equal ones for the first."""
    if count <= 0 or count >= len(scores):
        return torch.full((len(scores),), count > 0)
    # In late rounds almost all weights are masked and have the lowest score: few are left to search.
    rivals = scores[scores > scores.min()]
    rivals = rivals if len(rivals) >= count else scores
    # numpy takes a fraction of the time of torch's kthvalue, unless many scores are equal.
    place = len(rivals) - count
    threshold = float(np.partition(rivals.numpy(), place)[place])
    stays = scores > threshold
    ties = (scores == threshold).nonzero().flatten()
    stays[ties[: count - int(stays.count_nonzero())]] = True
    return stays


def _shuffled(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(scores), generator=generator) < count


TWINS = ("shuffle", "invert")
"""The third twin, `reinit`, keeps the masks and draws the network's weights anew; see `surgery.initialise`."""
