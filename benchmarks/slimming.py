"""Widths by greedy slimming of shared weights, on a network of the arena.

    python benchmarks/slimming.py --network vgg19-macs95 --seeds 0 1 2 --out benchmarks/results/slimming-vgg19

After AutoSlim (Yu and Huang, 2019): weights are shared by networks of all widths from a fifth of the uniform ones to
the cap of `--rule learned`, which is twice these under a budget of MACs; the steps of their training take the widest
network, the narrowest one and two random ones in turn. Then, from the widest network on, the group that can lose a
tenth of its channels at the least held-out loss loses them, until the budget is met, and the network of these widths is
trained from scratch. Beside it stands the same with the rise of the loss divided by the cost that is saved.

The published method begins with the dense network, sums the gradients of the four networks in every step and teaches
the narrower ones by the widest. Here widths with more parameters than the uniform ones are tilted until they have no
more. Writes NAME.json after every seed (what is there is not run again) and NAME.md.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from statistics import fmean
from typing import Any

import numpy as np
import torch
from rival import UNIFORM, Choice, Column, Rival, run

from slimprune.budget import WidthSpace
from slimprune.graph.groups import Integers
from slimprune.pipeline.learned import sharing_epochs, sharing_settings, split_images
from slimprune.pipeline.stages import Analysis
from slimprune.recipe import ResolvedRecipe
from slimprune.training import train
from slimprune.weight_sharing import SharedNetwork, losses_at

NARROWEST = 0.2
"""Least width as a share of the uniform one."""

PARTS = 10
"""Into how many parts the widest group is divided, of which one is removed at a time."""

WAYS = {"loss": False, "loss per cost": True}
"""By what the next group is chosen, and whether the rise of the loss is divided by the cost that is saved."""

LossAt = Callable[[Integers], float]


def main() -> None:
    """Run the seeds that are missing, then write the table."""
    columns = (Column("loss", "loss", ".3f", of_uniform=True), Column("evaluations", "evaluations"))
    run(Rival(__doc__, "Greedy slimming of shared weights", list(WAYS), slimmed, columns, about))


def about(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Return what the columns of the page mean."""
    return (
        f"*Loss*: that of the shared weights, after {seeds[0]['sharing']['epochs']} epochs, on the held-out training "
        "images by which the widths were chosen. Networks were chosen by the *loss*, or by its rise per saved cost."
    )


def slimmed(
    recipe: ResolvedRecipe, analysis: Analysis, space: WidthSpace
) -> tuple[Mapping[str, Any], Mapping[str, Choice]]:
    """Share weights and slim them in both ways."""
    began = time.perf_counter()
    loss_at = shared_loss(recipe, analysis, space)
    sharing = {"epochs": sharing_epochs(recipe), "seconds": round(time.perf_counter() - began, 1)}
    found = {UNIFORM: Choice(space.uniform, {"loss": loss_at(space.uniform)})}
    for way, per_cost in WAYS.items():
        began = time.perf_counter()
        steps = list(slimming(space, loss_at, per_cost=per_cost))
        widths, seconds = space.widths(space.proportions_of(steps[-1][0])), round(time.perf_counter() - began, 1)
        tried = sum(count for _, count in steps)
        found[way] = Choice(widths, {"loss": loss_at(widths), "evaluations": tried, "seconds": seconds})
    return {"sharing": sharing}, found


def shared_loss(recipe: ResolvedRecipe, analysis: Analysis, space: WidthSpace) -> LossAt:
    """Train shared weights; return the function from widths [G] to their loss on held-out training images."""
    work, limits, least = analysis.work, space.limits, narrowest(space)
    images = split_images(recipe, work)
    turn = cycle(["widest", "narrowest", "random", "random"])

    def draw() -> Integers:
        kind = next(turn)
        if kind == "random":
            share = torch.rand(len(limits.full)).numpy()
            return limits.rounded((least + share * (limits.full - least)).round().astype(np.int64))
        return limits.full if kind == "widest" else least

    shared = SharedNetwork(work.model, space.groups, limits.full, draw)
    settings = sharing_settings(recipe, work, sharing_epochs(recipe))
    train(shared, images.training, images.searched[:1], settings, loss=work.loss, metric=work.metric)

    def loss_at(widths: Integers) -> float:
        return fmean(losses_at(shared, widths, images.searched, work.loss, amp=bool(recipe.amp)))

    return loss_at


def narrowest(space: WidthSpace) -> Integers:
    """Return the least widths, [G]."""
    return space.limits.rounded(np.ceil(NARROWEST * space.uniform).astype(np.int64))


def slimming(space: WidthSpace, loss_at: LossAt, *, per_cost: bool) -> Iterator[tuple[Integers, int]]:
    """Yield ever smaller widths [G], each with the number of evaluations, until they are within the budget.

    Args:
        space: Widths at the budget; its widest ones are the beginning.
        loss_at: Function from widths to the loss.
        per_cost: Whether the rise of the loss is divided by the saved cost of what is limited most.
    """
    least, widths = narrowest(space), space.limits.full
    part = np.maximum(1, widths // PARTS)
    loss = loss_at(widths)
    while not space.allows(widths):
        tried: list[tuple[float, float, Integers]] = []
        for number in space.free:
            smaller = widths.copy()
            smaller[number] -= part[number]
            if smaller[number] >= least[number]:
                own = loss_at(smaller)
                tried.append(((own - loss) / space.saved(widths, smaller) if per_cost else own, own, smaller))
        _, loss, widths = min(tried, key=lambda one: one[0])
        yield widths, len(tried)


if __name__ == "__main__":
    main()
