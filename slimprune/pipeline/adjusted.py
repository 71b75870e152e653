"""Widths moved to the groups whose channels a trained network of uniform widths needs most.

After Network Adjustment (CVPR 2020), which measures while it trains with dropped channels and takes many small steps.
Here channels are removed from the trained network, and one step is made.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from slimprune.budget import Proportions, WidthSpace
from slimprune.data import Batch
from slimprune.forward import Loss
from slimprune.graph import ChannelGroup, find_groups, first_channels, keep_channels
from slimprune.pipeline.learned import space_of
from slimprune.pipeline.stages import Analysis, training_settings
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Search, SearchTrial
from slimprune.saliency import Scores
from slimprune.training import train
from slimprune.types import Listener, under
from slimprune.weight_sharing import losses_of

EXPONENT, CAP = 0.2, 4.0
"""Power of a group's worth that multiplies its width, and the greatest width as a multiple of the uniform one."""

REMOVED, DRAWS, BATCHES = 0.1, 4, 6
"""Share of a group's channels that is removed, how often this is drawn, and on how many batches it is tried."""

LEAST_WORTH = 1e-3
"""Worth of groups that lose nothing or gain by the removal."""

STAGE = "train uniform widths"


def adjusted_widths(
    recipe: ResolvedRecipe,
    analysis: Analysis,
    network: nn.Module,
    scores: Scores | None,
    listener: Listener,
    *,
    store: Path | None = None,
) -> Search:
    """Return the rule that multiplies uniform widths by a power of what the channels of each group are worth.

    The network of uniform widths is trained to the end, as the recipe says. All widths are brought back to the budget;
    where this leaves the parameters open, they have no more of them than uniform ones.

    Args:
        recipe: Recipe with budget, floor, rounding and training.
        analysis: Analysis of the dense network.
        network: Network whose weights the slim one inherits; it is not modified.
        scores: Scores by which the channels of the uniform network are chosen; None for the first ones.
        listener: Called during the training.
        store: Folder from which an interrupted training resumes.
    """
    began, work = time.perf_counter(), analysis.work
    space = space_of(recipe.model_copy(update={"width_cap": CAP}), analysis)
    module = _narrowed(network, space, scores)
    settings = replace(training_settings(recipe, work), distill=None, patience=None)
    result = train(
        module,
        work.train_batches,
        [next(iter(work.test_batches))],  # the training loop requires test batches; the result is ignored
        settings,
        loss=work.loss,
        metric=work.metric,
        progress=under(STAGE, listener),
        checkpoint=None if store is None else store / "uniform",
    )
    groups = {group.id: group for group in find_groups(module, work.example, protect=recipe.protect)}
    worth = worths(module, groups, space, _batches(recipe, work), work.loss, amp=bool(recipe.amp))
    cost = space.costs.cost(space.uniform)
    trial = SearchTrial("uniform", settings.epochs, result.history[-1].train_loss, cost.params, cost.macs)
    return Search(space.rule(proportions_of(worth)), (trial,), time.perf_counter() - began)


def proportions_of(worth: Sequence[float]) -> Proportions:
    """Return the proportions of widths by the worth of the free groups, [F]; an infinite one changes nothing."""
    logs = np.log(np.maximum(LEAST_WORTH, np.array(worth, np.float64)))
    known = np.isfinite(logs)
    found: Proportions = EXPONENT * np.where(known, logs - logs[known].mean(), 0.0)
    return found


def worths(
    module: nn.Module,
    groups: dict[str, ChannelGroup],
    space: WidthSpace,
    batches: Sequence[Batch],
    loss: Loss,
    *,
    amp: bool,
) -> list[float]:
    """Return what each free group is worth: the rise of the loss without some channels, per share of the cost saved.

    The cost is that of the budgeted quantity of which uniform widths use most. A single channel has infinite
    worth.

    Args:
        module: Trained network of uniform widths, on the device of the batches; what its norms store changes.
        groups: Its groups by id.
        space: Widths at the budget.
        batches: Training batches; norms use their statistics.
        loss: Loss of a batch.
        amp: Whether to compute in bfloat16.
    """
    generator = torch.Generator().manual_seed(0)
    whole, found = fmean(losses_of(module, batches, loss, amp=amp)), []
    for number in space.free:
        group = groups[space.groups[number].id]
        removed = max(1, round(REMOVED * group.width))
        smaller = space.uniform.copy()
        smaller[number] -= removed
        losses = []
        for _ in range(DRAWS if removed < group.width else 0):
            kept: Tensor = torch.randperm(group.width, generator=generator)[removed:].sort().values
            losses += losses_of(keep_channels(module, [group], {group.id: kept}), batches, loss, amp=amp)
        found.append((fmean(losses) - whole) / space.saved(space.uniform, smaller) if losses else np.inf)
    return found


def _narrowed(network: nn.Module, space: WidthSpace, scores: Scores | None) -> nn.Module:
    """Return the network of uniform widths with the best channels of every group, or the first ones."""
    kept = first_channels(space.groups, space.uniform)
    if scores is not None:
        kept |= {
            group: scores.by_group[group].topk(len(kept[group])).indices.sort().values for group in scores.by_group
        }
    return keep_channels(network, space.groups, kept)


def _batches(recipe: ResolvedRecipe, work: Workload) -> list[Batch]:
    """Return some training batches, which are not augmented if the data are known."""
    batches = work.train_batches
    if work.data is not None:
        size = recipe.named().batch_size
        batches = work.data.train_batches(size, seed=recipe.seed, device=work.device, augment=False)
    return list(islice(batches, BATCHES))
