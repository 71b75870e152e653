"""Widths as power laws of the budget, fitted to the pruning of a trained network, on a network of the arena.

    python benchmarks/power_laws.py --network resnet8-macs50 --seeds 0 1 2 --out benchmarks/results/power-laws-resnet8

After NeuralScale (Lee and Lee, CVPR 2020): the dense network is trained for half of the recipe's epochs, then channels
of least Taylor score are removed in rounds, each with an epoch of fine-tuning, at least until the budget is met. The
width of every group on this way is fitted by a power law of the cost, width = a * cost^b, and read off at the budget.
Beside it stand the pruned widths themselves, where the way crosses the budget. Networks of these widths are trained
from scratch.

The published method counts parameters instead of the budget's quantity, and repeats all this from the widths that it
has found. Here widths with more parameters than the uniform ones are tilted until they have no more. Writes NAME.json
after every seed (what is there is not run again) and NAME.md.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

import numpy as np
from rank_agreement import trained_at
from rival import Choice, Rival, run
from torch import nn

from slimprune.budget import Budget, CostModel, Proportions, WidthSpace, allocate
from slimprune.graph import find_groups, keep_channels
from slimprune.graph.groups import Integers
from slimprune.pipeline.stages import Analysis, training_settings
from slimprune.recipe import ResolvedRecipe
from slimprune.saliency import score
from slimprune.training import evaluate, train
from slimprune.types import Quantity

ROUNDS, SHARE = 15, 0.15
"""Least number of rounds of pruning, and the share of the budgeted quantity that each removes of what is left."""

CAP = 4.0
"""Greatest width of a group as a multiple of its uniform width."""

BATCHES = 8
"""Training batches by which channels are scored in each round."""

WAYS = ("pruning", "power laws")


def main() -> None:
    """Run the seeds that are missing, then write the table."""
    run(Rival(__doc__, "Power laws of pruned widths", WAYS, chosen, (), about, cap=CAP))


def about(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Return what was found on the way."""
    curves = [one["curve"] for one in seeds]
    dense = ", ".join(f"{100 * curve['dense']:.2f}" for curve in curves)
    exponents = [exponent for curve in curves for exponent in curve["exponents"]]
    return (
        f"The dense network came to {dense} % in {curves[0]['epochs']} epochs before the pruning. Exponents of the "
        f"power laws go from {min(exponents):.2f} to {max(exponents):.2f}; all would be about 0.5 if widths kept their "
        "proportions."
    )


def chosen(
    recipe: ResolvedRecipe, analysis: Analysis, space: WidthSpace
) -> tuple[Mapping[str, Any], Mapping[str, Choice]]:
    """Train and prune the dense network; return the pruned widths and those of the power laws."""
    began, work, epochs = time.perf_counter(), analysis.work, max(1, recipe.epochs // 2)
    full = np.array([group.width for group in analysis.groups], np.int64)
    dense, _ = trained_at(recipe, work, analysis.groups, full, epochs)
    reached = evaluate(dense, work.test_batches, work.metric, device="cpu", amp=bool(recipe.amp))
    of = space.budget.of
    wanted = space.budget.allowed(of, space.costs.dense)
    way, costs = [], []
    for widths in pruning(dense, recipe, analysis, of):
        way.append(widths)
        costs.append(space.costs.cost(widths).of(of))
        if len(way) > ROUNDS and costs[-1] <= wanted:
            break
    offsets, slopes = power_laws(np.array(costs, np.float64), np.stack(way)[:, space.free])
    found: dict[str, Proportions] = {
        "pruning": crossing(costs, [space.proportions_of(widths) for widths in way], wanted),
        "power laws": offsets + slopes * np.log(wanted) - np.log(way[0][space.free]),
    }
    curve = {
        "dense": reached, "epochs": epochs, "costs": costs, "exponents": slopes.tolist(),
        "widths": {space.groups[number].id: [int(widths[number]) for widths in way] for number in space.free},
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    return {"curve": curve}, {name: Choice(space.widths(one)) for name, one in found.items()}


def pruning(module: nn.Module, recipe: ResolvedRecipe, analysis: Analysis, of: Quantity) -> Iterator[Integers]:
    """Yield the widths [G] of a trained network and those after each round of pruning and fine-tuning."""
    work, groups = analysis.work, analysis.groups
    assert work.data is not None  # a recipe names its data
    tuning = replace(training_settings(recipe, work), epochs=1, lr=recipe.lr / 5, schedule="cosine", warm_up=0)
    first = [next(iter(work.test_batches))]  # the training loop requires test batches; the result is ignored
    for number in count(1):
        yield np.array([group.width for group in groups], np.int64)
        batches = work.data.train_batches(recipe.named().batch_size, seed=recipe.seed + number, device=work.device)
        costs = CostModel.of(module, groups, work.example)
        drawn = list(islice(batches, BATCHES))
        scores = score(module, groups, drawn, work.loss, criterion="taylor", draws=len(drawn), seed=recipe.seed)
        plan = allocate(scores, groups, Budget(SHARE, of), costs, rule="global")
        module = keep_channels(module, groups, plan.kept)
        tuning = replace(tuning, seed=recipe.seed + number)
        train(module, batches, first, tuning, loss=work.loss, metric=work.metric)
        found = {group.id: group for group in find_groups(module, work.example, protect=recipe.protect)}
        groups = [found[group.id] for group in groups]


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


def crossing(costs: Sequence[float], proportions: Sequence[Proportions], wanted: float) -> Proportions:
    """Return the proportions, [F], at a cost, between two of N networks of descending costs with proportions [F]."""
    logs = np.log(costs)[::-1]
    return np.array([np.interp(np.log(wanted), logs, one[::-1]) for one in np.stack(proportions).T])


if __name__ == "__main__":
    main()
