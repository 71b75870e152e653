"""Penalties that make the channels of a dense network sparse while it is trained."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from slimprune.graph import ChannelGroup, find_groups, free_groups
from slimprune.graph.groups import Slot
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.training import Penalty, batch_norm_l1, polarization

_OF_GAINS: dict[str, Callable[[nn.Module], Tensor]] = {"bn-l1": batch_norm_l1, "polarization": polarization}


def penalty_of(recipe: ResolvedRecipe, work: Workload) -> Penalty | None:
    """Return the penalty for the dense training before pruning; None if the recipe has none or trains none.

    Raises:
        UnsupportedModelError: If the network has no gains of batch norm, or no channels to penalise.
    """
    name = recipe.regularizer
    if name is None or recipe.when not in ("during-training", "after-training", "rewind", "early-bird"):
        return None
    if name in _OF_GAINS:
        function = _OF_GAINS[name]
    else:
        groups = find_groups(work.model, work.example, protect=recipe.protect)
        function = partial(group_lasso, free_groups(groups))
    function(work.model)
    return Penalty(name, recipe.regularizer_strength, function)


def group_lasso(groups: Sequence[ChannelGroup], model: nn.Module) -> Tensor:
    """Return the sum over channels of the norm of all weights and biases that produce the channel.

    Layers whose outputs are added to each other share their channels, and so a norm.

    Source: Wen et al., Learning Structured Sparsity in Deep Neural Networks (NeurIPS 2016), equation 2.

    Args:
        groups: Channel groups of the model.
        model: The model.
    """
    norms = []
    for group in groups:
        squares = [_squares(model, slot) for slot in group.slots_of("producer")]
        # The gradient of a norm at zero is not defined; the small number keeps it finite.
        norms.append((torch.stack(squares).sum(0) + 1e-12).sqrt().sum())
    return torch.stack(norms).sum()


def _squares(model: nn.Module, slot: Slot) -> Tensor:
    """Return the sum of squares, [width], of the entries of a slot for each channel."""
    tensor = model.get_parameter(slot.name).movedim(slot.dim, 0)
    return tensor[slot.index.to(tensor.device)].flatten(1).square().sum(1)
