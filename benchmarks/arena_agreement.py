"""Agreement of shared weights with the arena: do they order its networks as their trainings do?

    python benchmarks/arena_agreement.py --network unet-nuclei-macs90 --out benchmarks/results/arena-agreement-unet

Takes the widths and results of all rows and seeds of a network of the arena. Trains shared weights in several ways
(`VARIANTS`), evaluates all these widths with them on training images that were held out, and correlates the ranks of
losses and of errors: over the rows (means over their seeds), and over all networks within the greatest widths. Beside
them stand trainings of the widths of one seed: short ones from scratch, and ones that go on from the shared weights.
Writes NAME.json after every variant (what is there is not run again) and NAME.md.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from arena import PRECISIONS, RECIPES, RESULTS
from rank_agreement import trained_at

from slimprune.comparison import make_grid, recorded_cells
from slimprune.files import write_atomically
from slimprune.graph.groups import Integers
from slimprune.measure import environment
from slimprune.pipeline.learned import sharing_settings, space_of, split_images, trained_shared
from slimprune.pipeline.stages import analyse
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe, read_recipe
from slimprune.report import markdown_table
from slimprune.saliency import spearman
from slimprune.training import train
from slimprune.types import ignore
from slimprune.weight_sharing import SharedNetwork, losses_at


@dataclass(frozen=True)
class Variant:
    """A way to share weights.

    Attributes:
        epochs: Epochs of sharing; None for those of the arena's recipe.
        cap: Greatest width of a group as a multiple of its uniform width.
        spread: Spread of the random widths.
        seed: Seed of weights, draws and held-out images.
        amp: Whether to compute in bfloat16.
        tuned: Epochs in which a copy of the shared weights is trained further at each of the first seed's widths, at a
            tenth of the learning rate.
    """

    epochs: int | None = None
    cap: float = 4.0
    spread: float = 0.5
    seed: int = 0
    amp: bool = False
    tuned: int = 0


VARIANTS = {
    "as in the arena: 2 times uniform widths": Variant(cap=2.0),
    "4 times": Variant(),
    "4 times, half the spread": Variant(spread=0.25),
    "4 times, twice the spread": Variant(spread=1.0),
    "4 times, a third of the epochs": Variant(epochs=3),
    "4 times, three times the epochs": Variant(epochs=30),
    "2 times, three times the epochs": Variant(epochs=30, cap=2.0),
    "4 times, half the spread, three times the epochs": Variant(epochs=30, spread=0.25),
    "4 times, twice the spread, three times the epochs": Variant(epochs=30, spread=1.0),
    "4 times, three times the epochs, another seed": Variant(epochs=30, seed=1),
    "4 times, three times the epochs, a third seed": Variant(epochs=30, seed=2),
    "4 times, three times the epochs, bfloat16": Variant(epochs=30, amp=True),
    "4 times, three times the epochs, bfloat16, another seed": Variant(epochs=30, seed=1, amp=True),
    "4 times, bfloat16": Variant(amp=True),
    "4 times, bfloat16, then 1 epoch of each": Variant(amp=True, tuned=1),
    "4 times, bfloat16, then 2 epochs of each": Variant(amp=True, tuned=2),
}
SHORT = (1, 3, 10)
"""Epochs of short trainings."""


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True, help="name of a recipe in recipes/arena")
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="that of the arena's trainings")
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without suffix")
    options = parser.parse_args()
    torch.set_num_threads(1)
    Bench(options.network, options.precision, options.out).run()


class Bench:
    """A network of the arena with what is known of it.

    Attributes:
        cells: Records of the arena's trainings.
        found: Losses of the cells by variant and by the cell's hash, null where the widths are beyond the cap.
    """

    def __init__(self, network: str, precision: str, out: Path) -> None:
        self.network, self.out = network, out
        given = read_recipe(RECIPES / f"{network}.yaml")
        grid = make_grid({**given, "base": {**given["base"], "amp": PRECISIONS[precision]}})
        self.cells = [cell for cell in recorded_cells(grid, RESULTS / network) if "refused" not in cell]
        learned = next(cell.recipe for cell in grid.row_cells(grid.budgets[0]) if cell.row == "learned")
        self.recipe = make_recipe({**learned.model_dump(), "amp": False}).with_defaults()
        self.work = named_workload(self.recipe, "cpu")
        self.analysis = analyse(self.recipe, self.work, ignore)
        file = out.with_suffix(".json")
        self.found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def run(self) -> None:
        """Fill the columns one after the other."""
        for name, variant in VARIANTS.items():
            self.fill(name, lambda variant=variant: self.shared(variant))
        for epochs in SHORT:
            self.fill(f"training of {epochs} epochs", lambda epochs=epochs: self.short(epochs))
        self.publish()

    def fill(self, name: str, losses: Callable[[], Sequence[float | None]]) -> None:
        """Compute one column unless it is there."""
        if name not in self.found:
            began = time.process_time()
            found = dict(zip((cell["hash"] for cell in self.cells), losses(), strict=True))
            self.found[name] = {"losses": found, "cpu_seconds": round(time.process_time() - began, 1)}
            write_atomically(self.out.with_suffix(".json"), json.dumps(self.found, indent=1) + "\n")
            print(f"{name}: {self.found[name]['cpu_seconds']} s, {self.agreement(name)}", flush=True)

    def agreement(self, name: str) -> tuple[int, float, int, float]:
        """Return the agreement of one column; cells that were trained after it was filled have no loss in it."""
        losses = self.found[name]["losses"]
        return agreement(self.cells, [losses.get(cell["hash"]) for cell in self.cells])

    def shared(self, variant: Variant) -> list[float | None]:
        """Return the loss of every cell's widths with shared weights; None for widths beyond the cap."""
        changes = {"width_cap": variant.cap, "seed": variant.seed, "amp": variant.amp}
        recipe = self.recipe.model_copy(update=changes)
        work = named_workload(recipe, "cpu")
        space = space_of(recipe, self.analysis)
        images, epochs = split_images(recipe, work), variant.epochs or recipe.sharing_epochs or 1
        shared = trained_shared(
            recipe, work, work.model, space, None, images, epochs, ignore, None, spread=variant.spread
        )
        held_out = [*images.searched, *images.confirming]

        def loss_at(widths: Integers) -> float:
            network = shared
            if variant.tuned:
                settings = sharing_settings(recipe, work, variant.tuned)
                further = replace(settings, lr=settings.lr / 10)
                network = SharedNetwork(work.model, space.groups, space.limits.full, lambda: widths)
                network.load_state_dict(shared.state_dict())
                train(network, images.training, images.searched[:1], further, loss=work.loss, metric=work.metric)
            return fmean(losses_at(network, widths, held_out, work.loss, amp=variant.amp))

        return [
            loss_at(widths)
            if np.all(widths <= space.limits.full) and (not variant.tuned or cell["seed"] == 0)
            else None
            for cell, widths in zip(self.cells, map(self.widths, self.cells), strict=True)
        ]

    def short(self, epochs: int) -> list[float | None]:
        """Return the training loss of the last epoch of short trainings, for the cells of the first seed."""
        return [self.trained(cell, epochs) if cell["seed"] == 0 else None for cell in self.cells]

    def trained(self, cell: Any, epochs: int) -> float:
        """Return the training loss of the last of some epochs at a cell's widths."""
        _, result = trained_at(self.recipe, self.work, self.analysis.groups, self.widths(cell), epochs)
        return result.history[-1].train_loss

    def widths(self, cell: Any) -> Integers:
        """Return the widths of all groups in a cell, [G]."""
        return np.array([cell["widths"][group.id] for group in self.analysis.groups], np.int64)

    def publish(self) -> None:
        """Write the table."""
        head = ["losses of", "rows", "agreement", "networks", "agreement", "CPU s"]
        lines = [
            [name, rows, f"{of_rows:+.2f}", cells, f"{of_cells:+.2f}", self.found[name]["cpu_seconds"]]
            for name in self.found
            for rows, of_rows, cells, of_cells in [self.agreement(name)]
        ]
        facts = [f"{key}: {value}  " for key, value in environment(torch.device("cpu")).items()]
        page = [
            f"# Agreement of shared weights with the arena: {self.network}",
            f"`{shlex.join(['python', *sys.argv])}`",
            "\n".join(facts),
            "Spearman's correlation of the loss at a network's widths with the error of the trained network (1: the "
            "same order). *Rows*: means over the seeds of each row of the arena. *Networks*: every seed by itself, "
            "whose noise counts against the losses. Widths beyond the cap are left out. Trainings of each "
            "network, from scratch or from the shared weights, are of the first seed's widths.",
            markdown_table(head, lines, left=(0,)),
        ]
        write_atomically(self.out.with_suffix(".md"), "\n\n".join(page) + "\n")
        print(page[-1])


def agreement(cells: Sequence[Any], losses: Sequence[float | None]) -> tuple[int, float, int, float]:
    """Return how many rows and how many cells have losses, each with the rank correlation of losses and errors.

    Args:
        cells: Records of an arena's cells.
        losses: Loss of each cell, None if unknown. A row counts with all its cells or, in short trainings, with one.
    """
    errors: dict[str, list[float]] = {}
    known: dict[str, list[float]] = {}
    pairs = [(loss, 1 - cell["final"]) for cell, loss in zip(cells, losses, strict=True) if loss is not None]
    for cell, loss in zip(cells, losses, strict=True):
        errors.setdefault(cell["row"], []).append(1 - cell["final"])
        if loss is not None:
            known.setdefault(cell["row"], []).append(loss)
    rows = [(fmean(own), fmean(errors[row])) for row, own in known.items() if len(own) in (1, len(errors[row]))]
    return len(rows), correlation(rows), len(pairs), correlation(pairs)


def correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Return Spearman's correlation of the first and the second values."""
    first, second = zip(*pairs, strict=True)
    return spearman(torch.tensor(first), torch.tensor(second))


if __name__ == "__main__":
    main()
