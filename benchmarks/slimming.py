"""Widths by greedy slimming of shared weights, on a network of the arena.

    python benchmarks/slimming.py --network vgg19-macs95 --seeds 0 1 2 --out benchmarks/results/slimming-vgg19

After AutoSlim (Yu and Huang, 2019): weights are shared by networks of all widths from a fifth of the uniform ones to
twice these; the steps of their training take the widest network, the narrowest one and two random ones in turn. Then,
from the widest network on, the group that can lose a tenth of its channels at the least held-out loss loses them, until
the budget is met, and the network of these widths is trained from scratch. Beside it stands the same with the rise of
the loss divided by the cost that is saved. The published method sums the gradients of the four networks in every step
and teaches the narrower ones by the widest. Trainings are those of the arena's recipe, and the uniform networks those
of its records, where there are any. Writes NAME.json after every seed (what is there is not run again) and NAME.md.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

import arena
import numpy as np
import torch
from rank_agreement import trained_at

from slimprune.budget import WidthSpace
from slimprune.comparison import make_grid, recorded_cells
from slimprune.files import write_atomically
from slimprune.graph.groups import Integers
from slimprune.measure import environment
from slimprune.pipeline.autocast import with_precision
from slimprune.pipeline.learned import sharing_epochs, sharing_settings, space_of, split_images
from slimprune.pipeline.stages import Analysis, analyse
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import ResolvedRecipe
from slimprune.report import markdown_table
from slimprune.report.paired_differences import paired_gap
from slimprune.training import evaluate, train
from slimprune.types import ignore
from slimprune.weight_sharing import SharedNetwork, losses_at

NARROWEST = 0.2
"""Least width as a share of the uniform one; the greatest one is the recipe's `width_cap`."""

PARTS = 10
"""Into how many parts the widest group is divided, of which one is removed at a time."""

WAYS = {"loss": False, "loss per cost": True}
"""By what the next group is chosen, and whether the rise of the loss is divided by the cost that is saved."""

LossAt = Callable[[Integers], float]


def main() -> None:
    """Run the seeds that are missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True, help="name of a recipe in recipes/arena")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without suffix")
    parser.add_argument("--epochs", type=int, help="train for fewer epochs than the recipe, to try this out")
    parser.add_argument("--train-size", type=int, help="train on fewer images than the recipe, to try this out")
    parser.add_argument("--data", help="other data than the recipe's, to try this out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = options.out.with_suffix(".json")
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for seed in options.seeds:
        if str(seed) not in found:
            found[str(seed)] = slimmed(options, seed)
            write_atomically(file, json.dumps(found, indent=1) + "\n")
    page = page_of(options.network, found)
    write_atomically(options.out.with_suffix(".md"), page)
    print(page)


def slimmed(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Share weights, slim them in both ways, train the networks that come out, and return all results of a seed."""
    recipe, known = recipe_of(options, seed)
    work = named_workload(recipe, "cpu")
    analysis = analyse(recipe, work, ignore)
    space = space_of(recipe, analysis)
    began = time.perf_counter()
    loss_at = shared_loss(recipe, analysis, space)
    seconds = time.perf_counter() - began
    names = [group.id for group in space.groups]
    result: dict[str, Any] = {
        "precision": "bfloat16" if recipe.amp else "float32",
        "sharing": {"epochs": sharing_epochs(recipe), "seconds": round(seconds, 1)},
    }

    def outcome(widths: Integers) -> dict[str, Any]:
        if known is not None and np.array_equal(widths, space.uniform):
            final = known["final"]
        else:
            module, _ = trained_at(recipe, work, space.groups, widths, recipe.epochs)
            final = evaluate(module, work.test_batches, work.metric, device="cpu", amp=bool(recipe.amp))
        cost = space.costs.cost(widths)
        return {
            "final": final, "params": cost.params, "macs": cost.macs,
            "widths": dict(zip(names, map(int, widths), strict=True)),
        }  # fmt: skip

    result["uniform"] = {**outcome(space.uniform), "loss": loss_at(space.uniform)}
    for way, per_cost in WAYS.items():
        began = time.perf_counter()
        steps = list(slimming(space, loss_at, per_cost=per_cost))
        widths, seconds = space.widths(space.proportions_of(steps[-1][0])), time.perf_counter() - began
        result[way] = {
            **outcome(widths), "loss": loss_at(widths), "evaluations": sum(tried for _, tried in steps),
            "seconds": round(seconds, 1),
        }  # fmt: skip
        print(f"seed {seed}, {way}: {100 * result[way]['final']:.2f} %", flush=True)
    return result


def recipe_of(options: argparse.Namespace, seed: int) -> tuple[ResolvedRecipe, Mapping[str, Any] | None]:
    """Return the recipe of the arena's row `learned`, and the record of uniform widths trained likewise, if any."""
    given = {**arena.recipe_of(options, options.network), "seeds": [seed]}
    grid = make_grid(given)
    learned = next(cell.recipe for cell in grid.row_cells(grid.budgets[0]) if cell.row == "learned")
    recipe, _ = with_precision(learned)
    grid = make_grid({**given, "base": {**given["base"], "amp": recipe.amp}})
    records = recorded_cells(grid, arena.RESULTS / options.network)
    return recipe, next((record for record in records if record["row"] == "uniform"), None)


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


def page_of(network: str, found: Mapping[str, Any]) -> str:
    """Return the results as a Markdown page."""
    finals = {way: {seed: 100 * one[way]["final"] for seed, one in found.items()} for way in ("uniform", *WAYS)}
    lines = [
        [seed, f"{finals['uniform'][seed]:.2f}", f"{one['uniform']['loss']:.3f}",
         *(cell for way in WAYS for cell in (
             f"{finals[way][seed]:.2f}", f"{one[way]['params'] / one['uniform']['params']:.2f} x",
             f"{one[way]['loss']:.3f}", one[way]["evaluations"]))]
        for seed, one in found.items()
    ]  # fmt: skip
    summary = []
    for way in WAYS:
        gap = paired_gap(finals[way], finals["uniform"])
        assert gap is not None  # the same seeds
        interval = "" if gap.low is None else f"{gap.low:+.2f} to {gap.high:+.2f}"
        summary.append([way, f"{gap.mean:+.2f}", interval])
    first = next(iter(found.values()))
    widths = [
        [group, width, *(" / ".join(str(one[way]["widths"][group]) for one in found.values()) for way in WAYS)]
        for group, width in first["uniform"]["widths"].items()
    ]
    facts = [f"{key}: {value}  " for key, value in environment(torch.device("cpu")).items()]
    parts = [
        f"# Greedy slimming of shared weights: {network}",
        f"`{shlex.join(['python', *sys.argv])}`",
        "\n".join(facts),
        f"Metric in percent after the last epoch, in {first['precision']}; all networks of a seed are trained alike "
        f"and cost the same by the budget. *Loss*: that of the shared weights, after {first['sharing']['epochs']} "
        f"epochs, on held-out training images. Networks were chosen by the *loss*, or by its rise per saved cost.",
        markdown_table(
            ["seed", "uniform", "loss", *(
                head for way in WAYS for head in (f"by {way}", "params", "loss", "evaluations"))],
            lines, left=(0,),
        ),
        markdown_table(["chosen by", "difference to uniform", "95 % interval of pairs"], summary, left=(0,)),
        markdown_table(["group", "uniform width", *(f"widths by {way}" for way in WAYS)], widths, left=(0,)),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
