"""Widths as power laws of the budget, fitted to the pruning of a trained network, on a network of the arena.

    python benchmarks/power_laws.py --network resnet8-macs50 --seeds 0 1 2 --out benchmarks/results/power-laws-resnet8

After NeuralScale (Lee and Lee, CVPR 2020): the dense network is trained for half of the recipe's epochs, then channels
of least Taylor score are removed in rounds, each with an epoch of fine-tuning, until few MACs are left. The width of
every group on this way is fitted by a power law of the cost, width = a * cost^b, and read off at the budget. Beside it
stand the pruned widths themselves, where the way crosses the budget. Both are brought to the budget, and networks of
these widths are trained from scratch. The published method counts parameters instead of MACs, and repeats all this from
the widths that it has found. Writes NAME.json after every seed (what is there is not run again) and NAME.md.
"""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from rival import Choice, Column, Rival, run
from torch import nn

from slimprune.budget import Budget, CostModel, Proportions, WidthSpace, allocate
from slimprune.graph import find_groups, keep_channels
from slimprune.graph.groups import Integers
from slimprune.pipeline.stages import Analysis, training_settings
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.saliency import score
from slimprune.training import TrainSettings, evaluate, train

ROUNDS, SHARE = 15, 0.15
"""Rounds of pruning, and the share of the MACs that each removes of what is left."""

CAP = 4.0
"""Greatest width of a group as a multiple of its uniform width."""

BATCHES = 8
"""Training batches by which channels are scored in each round."""

WAYS = ("pruning", "power laws")


def main() -> None:
    """Run the seeds that are missing, then write the table."""
    columns = (Column("greatest exponent", "greatest", ".2f"), Column("least exponent", "least", ".2f"))
    run(Rival(__doc__, "Power laws of pruned widths", WAYS, chosen, columns, about, cap=CAP))


def about(facts: Mapping[str, Any]) -> str:
    """Return what the columns of the page mean."""
    curve = facts["curve"]
    return (
        "*Exponents* are those of the power laws, about 0.5 for widths that keep their proportions. The dense network "
        f"came to {100 * curve['dense']:.2f} % in {curve['epochs']} epochs before the pruning, whose {ROUNDS} rounds "
        f"left {100 * curve['left']:.0f} % of the MACs."
    )


def chosen(
    recipe: ResolvedRecipe, analysis: Analysis, space: WidthSpace
) -> tuple[Mapping[str, Any], Mapping[str, Choice]]:
    """Train and prune the dense network; return the pruned widths and those of the power laws."""
    began, work, epochs = time.perf_counter(), analysis.work, max(1, recipe.epochs // 2)
    settings = training_settings(recipe, work)
    dense = copy.deepcopy(work.model)
    fitted(dense, work, replace(settings, epochs=epochs))
    reached = evaluate(dense, work.test_batches, work.metric, device="cpu", amp=bool(recipe.amp))
    tuning = replace(settings, epochs=1, lr=settings.lr / 5, schedule="cosine", warm_up=0)
    way = np.stack(list(pruning(dense, recipe, analysis, tuning)))
    of = space.budget.of
    costs = np.array([space.costs.cost(widths).of(of) for widths in way], np.float64)
    wanted = space.budget.allowed(of, space.costs.dense)
    laws = power_laws(costs, way[:, space.free])
    exponents = {"greatest": float(laws[1].max()), "least": float(laws[1].min())}
    found: dict[str, Proportions] = {
        "pruning": crossing(costs, np.stack([space.proportions_of(widths) for widths in way]), wanted),
        "power laws": laws[0] + laws[1] * np.log(wanted) - np.log(way[0][space.free]),
    }
    facts = {
        "dense": reached, "epochs": epochs, "left": costs[-1] / costs[0], "costs": costs.tolist(),
        "widths": {space.groups[number].id: way[:, number].tolist() for number in space.free},
        "exponents": laws[1].tolist(), "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    return {"curve": facts}, {name: Choice(space.widths(one), exponents) for name, one in found.items()}


def fitted(module: nn.Module, work: Workload, settings: TrainSettings) -> None:
    """Train a network on the training batches; the test images are not looked at."""
    first = [next(iter(work.test_batches))]  # the training loop requires test batches; the result is ignored
    train(module, work.train_batches, first, settings, loss=work.loss, metric=work.metric)


def pruning(
    module: nn.Module, recipe: ResolvedRecipe, analysis: Analysis, settings: TrainSettings
) -> Iterator[Integers]:
    """Yield the widths [G] of a trained network and those after each round of pruning and fine-tuning."""
    work, groups = analysis.work, analysis.groups
    yield np.array([group.width for group in groups], np.int64)
    for _ in range(ROUNDS):
        costs = CostModel.of(module, groups, work.example)
        batches = list(islice(work.train_batches, BATCHES))
        scores = score(module, groups, batches, work.loss, criterion="taylor", draws=len(batches), seed=recipe.seed)
        plan = allocate(scores, groups, Budget(SHARE, "macs"), costs, rule="global")
        module = keep_channels(module, groups, plan.kept)
        fitted(module, work, settings)
        found = {group.id: group for group in find_groups(module, work.example, protect=recipe.protect)}
        groups = [found[group.id] for group in groups]
        yield np.array([group.width for group in groups], np.int64)


def power_laws(costs: Proportions, widths: Integers) -> tuple[Proportions, Proportions]:
    """Return log a, [F], and b, [F], of width = a * cost^b by least squares on logarithms.

    Args:
        costs: Costs of networks, [N].
        widths: Their widths, [N, F].
    """
    x, y = np.log(costs), np.log(widths)
    centred = x - x.mean()
    slopes: Proportions = centred @ (y - y.mean(0)) / (centred @ centred)
    offsets: Proportions = y.mean(0) - slopes * x.mean()
    return offsets, slopes


def crossing(costs: Proportions, proportions: Proportions, wanted: float) -> Proportions:
    """Return the proportions, [F], at a cost, between two of the networks of descending costs, [N] and [N, F]."""
    columns: Sequence[Proportions] = [
        np.interp(np.log(wanted), np.log(costs)[::-1], one[::-1]) for one in proportions.T
    ]
    return np.array(columns)


if __name__ == "__main__":
    main()
