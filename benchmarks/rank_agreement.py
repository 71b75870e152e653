"""Agreement of proxies with real trainings: how well they order random widths of equal MACs.

    python benchmarks/rank_agreement.py --out benchmarks/results/rank-agreement-cpu

Trains ResNet-20 with a fifth of its MACs on 12,800 images of CIFAR-10, at uniform and at random widths, and tests it on
all 10,000. Orders the same networks by the losses of shared weights after several numbers of epochs (`--rule learned`),
by short trainings (`--rule search`), and by meta-gradients of whole groups (`--rule prospect`). Writes NAME.json after
every network (what is there is not run again), NAME.md and NAME.svg at the end.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.files import write_atomically
from slimprune.graph import ChannelGroup, find_groups, first_channels, keep_channels
from slimprune.graph.groups import Integers
from slimprune.measure import environment
from slimprune.pipeline.learned import space_of, split_images, trained_shared
from slimprune.pipeline.stages import analyse, training_settings
from slimprune.pipeline.workload import Workload, named_workload
from slimprune.recipe import ResolvedRecipe, make_recipe
from slimprune.report import markdown_table
from slimprune.saliency import Problem
from slimprune.saliency.adjoint import InnerTraining, meta_gradient
from slimprune.training import TrainResult, evaluate, train
from slimprune.types import ignore
from slimprune.weight_sharing import losses_at, random_proportions

SETTINGS = {
    "arch": "resnet20", "data": "hf:../shared/data/cifar10", "train_size": 12800, "ratio": 0.8, "of": "macs",
    "rule": "uniform", "batch_size": 128, "lr": 0.1, "schedule": "cosine", "amp": True,
    "score_batch": 128,
}  # fmt: skip
COUNT = 12
SHARING = (2, 4, 8)
SHORT = (1, 2)
DRAWS, INNER = 8, InnerTraining(steps=3, lr=0.01)


def main() -> None:
    """Run what is missing."""
    options = parse()
    bench = Bench(options.out, options.seed, options.epochs)
    for task in filter(None, options.tasks.split(",")):
        getattr(bench, task)()
    bench.publish()


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20, help="of the real trainings")
    parser.add_argument("--tasks", default="real,shared,short,gradients", help="which of the columns to fill")
    return parser.parse_args()


class Bench:
    """Networks of random widths and what is known about them."""

    def __init__(self, out: Path, seed: int, epochs: int) -> None:
        torch.set_num_threads(1)
        self.recipe, self.out = make_recipe({**SETTINGS, "seed": seed, "epochs": epochs}).with_defaults(), out
        self.work = named_workload(self.recipe, "cpu")
        self.analysis = analyse(self.recipe, self.work, ignore)
        self.space = space_of(self.recipe, self.analysis)
        generator = torch.Generator().manual_seed(1)
        count = len(self.space.free)
        self.proportions = [np.zeros(count), *(random_proportions(count, generator, spread=0.5) for _ in range(COUNT))]
        self.widths = [self.space.widths(one) for one in self.proportions]
        self.found = json.loads(out.with_suffix(".json").read_text()) if out.with_suffix(".json").exists() else {}

    def fill(self, column: str, value: Callable[[int], float]) -> None:
        """Fill a column of the table, one network after the other."""
        for number in range(len(self.widths)):
            rows = self.found.setdefault(column, {})
            if str(number) not in rows:
                began = time.perf_counter()
                rows[str(number)] = value(number)
                print(f"{column} {number}: {rows[str(number)]:.4f} ({time.perf_counter() - began:.0f} s)", flush=True)
                write_atomically(self.out.with_suffix(".json"), json.dumps(self.found, indent=1) + "\n")

    def real(self) -> None:
        """Train every network to the end."""
        self.fill("top-1", lambda number: 100 * self.trained(number, self.recipe.epochs)[0])

    def short(self) -> None:
        """Train every network for a few epochs, as `--rule search` does."""
        for epochs in SHORT:
            self.fill(f"short training, {epochs}", lambda number, epochs=epochs: self.trained(number, epochs)[1])

    def trained(self, number: int, epochs: int) -> tuple[float, float]:
        """Return the metric on all test images after the training, and the training loss of the last epoch."""
        module, result = trained_at(self.recipe, self.work, self.space.groups, self.widths[number], epochs)
        final = evaluate(module, self.work.test_batches, self.work.metric, device="cpu", amp=self.recipe.amp)
        return final, result.history[-1].train_loss

    def shared(self) -> None:
        """Train shared weights and evaluate every network with them."""
        images = split_images(self.recipe, self.work)
        for epochs in SHARING:
            column = f"shared weights, {epochs}"
            if len(self.found.get(column, {})) == len(self.widths):
                continue
            shared = trained_shared(
                self.recipe, self.work, self.work.model, self.space, None, images, epochs, ignore, None
            )
            for half in ("searched", "confirming"):
                self.fill(
                    column if half == "searched" else f"{column}, other images",
                    lambda number, half=half, shared=shared: fmean(
                        losses_at(
                            shared, self.widths[number], getattr(images, half), F.cross_entropy, amp=self.recipe.amp
                        )
                    ),
                )

    def gradients(self) -> None:
        """Predict losses by the meta-gradients of whole groups at uniform widths, signed and absolute."""
        groups, batches = self.space.groups, self.work.scoring_batches
        free = [groups[number] for number in self.space.free]
        narrow = keep_channels(self.work.model, groups, first_channels(groups, self.widths[0]))
        now = {group.id: group for group in find_groups(narrow, self.work.example)}
        problem = Problem.prepare(narrow, [now[group.id] for group in free], F.cross_entropy, "consumer", torch.float32)
        draws = []
        for draw in range(DRAWS):
            steps = INNER.steps + 1
            part = [batches[draw * steps + step] for step in range(steps)]
            one = replace(problem, batches=part, seed=draw)
            draws.append(one.gate_gradient(meta_gradient(one, INNER, on_host=False)))
        for name, size in (("signed", lambda v: v.sum()), ("absolute", lambda v: -v.abs().sum())):
            slope = np.array([float(torch.stack([size(draw[group.id]) for draw in draws]).mean()) for group in free])
            free_widths = [widths[self.space.free] for widths in self.widths]
            self.fill(
                f"meta-gradient of groups, {name}",
                lambda number, slope=slope, w=free_widths: float(slope @ np.log(w[number] / w[0])),
            )

    def publish(self) -> None:
        """Write the table of rank correlations and the plot."""
        top1 = self.found.get("top-1", {})
        complete = {name: values for name, values in self.found.items() if values.keys() == top1.keys()}
        errors = [-top1[number] for number in top1]
        rows = [
            [name, f"{spearman([values[number] for number in top1], errors):+.2f}"]
            for name, values in complete.items()
            if name != "top-1"
        ]
        machine = environment(torch.device("cpu"))
        epochs = self.recipe.named().epochs
        text = f"""# Rank agreement of proxies with real trainings

{len(top1)} networks with {self.recipe.ratio:.0%} fewer MACs, seed {self.recipe.seed}; one training of {epochs} epochs
each, so that its noise counts against every proxy. Settings: {json.dumps(SETTINGS)}. {machine["device"]},
{machine["threads"]} thread, torch {machine["torch"]}.
Command: `python benchmarks/rank_agreement.py --epochs {epochs} --out benchmarks/results/{self.out.name}`.

Top-1 of the networks: uniform {top1["0"]:.2f}, others {", ".join(f"{top1[n]:.2f}" for n in list(top1)[1:])}.

{markdown_table(["proxy (loss; epochs)", "Spearman with 100 - top-1"], rows)}
"""
        write_atomically(self.out.with_suffix(".md"), text)
        draw(self.out.with_suffix(".svg"), top1, {name: complete[name] for name, _ in rows[-4:]})
        print(text)


def trained_at(
    recipe: ResolvedRecipe, work: Workload, groups: Sequence[ChannelGroup], widths: Integers, epochs: int
) -> tuple[nn.Module, TrainResult]:
    """Return the network of the first channels, as many as `widths` [G] says, after a training of some epochs."""
    module = keep_channels(work.model, groups, first_channels(groups, widths))
    settings = replace(training_settings(recipe, work), epochs=epochs)
    first = [next(iter(work.test_batches))]
    return module, train(module, work.train_batches, first, settings, loss=work.loss, metric=work.metric)


def draw(file: Path, top1: dict[str, float], proxies: dict[str, dict[str, float]]) -> None:
    """Plot top-1 over each proxy; uniform widths are a square."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(proxies), 3.6), layout="constrained")
    places = np.atleast_1d(figure.subplots(1, len(proxies), sharey=True))
    for axes, (name, values) in zip(places, proxies.items(), strict=True):
        for number, accuracy in top1.items():
            axes.plot(values[number], accuracy, "s" if number == "0" else "o", color="C3" if number == "0" else "C0")
        axes.set_xlabel(name)
    figure.axes[0].set_ylabel("top-1 (%)")
    figure.savefig(file, metadata={"Date": None})


def spearman(one: list[float], other: list[float]) -> float:
    """Return the rank correlation; equal values have different ranks, in their order."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1]) if math.isfinite(sum(one) + sum(other)) else math.nan


if __name__ == "__main__":
    main()
