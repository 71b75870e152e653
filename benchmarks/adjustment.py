"""Widths moved to the layers whose channels a trained network needs most, on a network of the arena.

    python benchmarks/adjustment.py --network unet-nuclei-macs90 --seeds 0 1 2 --out benchmarks/results/adjustment-unet

After Network Adjustment (CVPR 2020): trains the network of uniform widths to the end and measures what the channels of
each group are worth, as the rise of the training loss when a tenth of them, drawn at random, is removed, per share of
the budget that this saves. Each width is then multiplied by a power of its group's worth, all are brought back to the
budget, and the new network is trained from scratch. The published method measures while it trains with dropped channels
and repeats this with small steps; here one step is made. Trainings are those of the arena's recipe; choosing costs as
much as the training of one slim network. Writes NAME.json after every training (what is there is not run again) and
NAME.md.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from arena import RECIPES
from rank_agreement import trained_at
from torch import nn

from slimprune.files import write_atomically
from slimprune.graph import find_groups
from slimprune.measure import environment
from slimprune.pipeline.adjusted import BATCHES, CAP, EXPONENT, REMOVED, proportions_of, worths
from slimprune.pipeline.autocast import with_precision
from slimprune.pipeline.learned import space_of
from slimprune.pipeline.stages import analyse
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe, read_recipe
from slimprune.report import markdown_table
from slimprune.statistics import paired_difference
from slimprune.training import evaluate
from slimprune.types import ignore


def main() -> None:
    """Train what is missing, then write the table."""
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
            found[str(seed)] = adjusted(options, seed)
            write_atomically(file, json.dumps(found, indent=1) + "\n")
    page = page_of(options.network, found)
    write_atomically(options.out.with_suffix(".md"), page)
    print(page)


def adjusted(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train the uniform network and the one whose widths are moved by the worth of its groups; return the results."""
    given = read_recipe(RECIPES / f"{options.network}.yaml")
    of, ratio = given["budgets"][0].split("=")
    changes = {
        "epochs": options.epochs,
        "train_size": options.train_size,
        "data": options.data,
        "seed": seed,
        "of": of,
        "ratio": float(ratio),
    }
    fields = {
        **given["base"],
        "rule": "uniform",
        **{name: value for name, value in changes.items() if value is not None},
    }
    recipe, _ = with_precision(make_recipe(fields).with_defaults())
    work = named_workload(recipe, "cpu")
    analysis = analyse(recipe, work, ignore)
    space = space_of(recipe.model_copy(update={"width_cap": CAP}), analysis)
    result: dict[str, Any] = {"precision": "bfloat16" if recipe.amp else "float32"}

    def trained(name: str, widths: np.ndarray[Any, np.dtype[np.int64]]) -> nn.Module:
        module, training = trained_at(recipe, work, space.groups, widths, recipe.epochs)
        final = evaluate(module, work.test_batches, work.metric, device="cpu", amp=bool(recipe.amp))
        cost = space.costs.cost(widths)
        result[name] = {
            "final": final, "train_loss": training.history[-1].train_loss, "params": cost.params, "macs": cost.macs,
            "widths": {group.id: int(width) for group, width in zip(space.groups, widths, strict=True)},
            "seconds": round(training.seconds, 1),
        }  # fmt: skip
        print(f"seed {seed}, {name}: {100 * final:.2f} %", flush=True)
        return module

    module = trained("uniform", space.uniform)
    groups = {group.id: group for group in find_groups(module, work.example)}
    batches = [batch for _, batch in zip(range(BATCHES), work.train_batches, strict=False)]
    worth = worths(module, groups, space, batches, work.loss, amp=bool(recipe.amp))
    trained("adjusted", space.widths(proportions_of(worth)))
    names = [space.groups[number].id for number in space.free]
    return {**result, "worth": dict(zip(names, worth, strict=True))}


def page_of(network: str, found: Mapping[str, Any]) -> str:
    """Return the results as a Markdown page."""
    rows = {name: {seed: 100 * one[name]["final"] for seed, one in found.items()} for name in ("uniform", "adjusted")}
    difference = paired_difference(rows["adjusted"], rows["uniform"])
    means = [f"{fmean(row.values()):.2f}" for row in rows.values()]
    apart = fmean(rows["adjusted"].values()) - fmean(rows["uniform"].values())
    lines = [
        [seed, f"{rows['uniform'][seed]:.2f}", f"{rows['adjusted'][seed]:.2f}",
         f"{rows['adjusted'][seed] - rows['uniform'][seed]:+.2f}",
         f"{one['adjusted']['params'] / one['uniform']['params']:.2f} x", one["precision"]]
        for seed, one in found.items()
    ]  # fmt: skip
    interval = "" if difference is None else f"95 % interval {' to '.join(f'{x:+.2f}' for x in difference.interval())}"
    worth = [
        [group, *(f"{one['worth'][group]:.3g}" for one in found.values()),
         " / ".join(str(one["adjusted"]["widths"][group]) for one in found.values()), next(iter(found.values()))[
             "uniform"]["widths"][group]]
        for group in next(iter(found.values()))["worth"]
    ]  # fmt: skip
    facts = [f"{key}: {value}  " for key, value in environment(torch.device("cpu")).items()]
    parts = [
        f"# Widths adjusted by what channels are worth: {network}",
        f"`{shlex.join(['python', *sys.argv])}`",
        "\n".join(facts),
        "Metric in percent after the last epoch; both networks of a seed are trained alike and cost the same by the "
        "budget. Choosing costs the training of the uniform network.",
        markdown_table(
            ["seed", "uniform", "adjusted", "difference", "params", "precision"],
            [*lines, ["mean", *means, f"{apart:+.2f}", interval, ""]],
            left=(0,),
        ),
        f"Worth of a group, by seed: rise of the loss without {REMOVED:.0%} of its channels, per share of the cost "
        f"saved. Widths are multiplied by its power {EXPONENT:g}.",
        markdown_table(
            ["group", *(f"worth, seed {seed}" for seed in found), "adjusted widths", "uniform width"], worth, left=(0,)
        ),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
