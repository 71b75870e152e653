"""How well few draws of a score agree with many: by inner rate, inner steps, draws, batch, dtype and average.

    python benchmarks/stability.py --cifar10 hf:DIR --nuclei hf:DIR --out benchmarks/results/stability-NAME

Every cell is a network with untrained weights and a way to score it. Its draws, signed, are kept in NAME.draws/ as soon
as they are made, and a repeated command goes on where it was. From them, D draws are averaged and compared by rank with
the mean of all the other draws of the cell, whose sign is taken off at the end: within groups (Spearman correlation of
the channels, mean over groups) and between them (correlation of the groups' mean scores). For D = 1 ... 64 this is
repeated on up to three disjoint sets of draws, which also show how far the widths that the rule `global` makes of them
differ (90 % fewer parameters; standard deviation over mean, averaged over groups). Writes NAME.json and NAME.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import slimprune
from slimprune.graph import ChannelGroup, find_groups, free_groups
from slimprune.measure import device_name
from slimprune.pipeline.workload import Workload, named_workload
from slimprune.recipe import make_recipe
from slimprune.report import markdown_table
from slimprune.saliency import Problem, make_criterion, spearman
from slimprune.saliency.agreement import expected_agreement, layer_agreement
from slimprune.saliency.problem import precise_arithmetic


@dataclass(frozen=True)
class Cell:
    """A way to score a network.

    Attributes:
        network: Name in `NETWORKS`.
        criterion: Name of a criterion with a sign.
        steps: Number of inner steps, M.
        lr: Inner learning rate.
        batch: Size of the batches.
        dtype: Dtype of the scoring.
        draws: Number of draws in the cell.
    """

    network: str
    criterion: str = "prospr"
    steps: int = 0
    lr: float = 0.1
    batch: int = 16
    dtype: str = "float32"
    draws: int = 128

    @property
    def name(self) -> str:
        """Name of the cell and of the file of its draws."""
        return f"{self.network}-{self.criterion}-M{self.steps}-lr{self.lr:g}-b{self.batch}-{self.dtype}"


NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "vgg11-digits": {"arch": "vgg11", "data": "digits"},
    "vgg19-digits": {"arch": "vgg19", "data": "digits"},
    "resnet20-cifar10": {"arch": "resnet20", "data": "cifar10"},
    "vgg11-cifar10": {"arch": "vgg11", "data": "cifar10"},
    "unet-nuclei": {"arch": "unet:depth=2,width=8", "data": "nuclei", "image_size": 32},
}
RATES = (0.1, 0.03, 0.01, 0.001)
DRAWS = {0: 128, 1: 48, 3: 32, 10: 12, 30: 6, 100: 4}
"""Number of draws by number of inner steps, as far as they are affordable."""


def grid(network: str) -> Iterator[Cell]:
    """Yield the cells of a network, the cheap ones first."""
    base = Cell(network)
    yield base
    yield replace(base, dtype="float64", draws=64)
    yield replace(base, batch=64, draws=64)
    yield replace(base, criterion="grasp", draws=32)
    large = network.startswith("vgg11-cifar")
    rates = (0.1, 0.01) if large else RATES
    for steps in (1, 3):
        for lr in rates:
            yield replace(base, steps=steps, lr=lr, draws=DRAWS[steps] // (2 if large else 1))
            yield replace(base, steps=steps, lr=lr, dtype="float64", draws=2)
    yield replace(base, steps=1, lr=0.01, batch=64, draws=16)
    if not large:
        for lr in rates:
            yield replace(base, steps=10, lr=lr, draws=DRAWS[10])
            yield replace(base, steps=10, lr=lr, dtype="float64", draws=1)
    if network in ("resnet20-cifar10", "unet-nuclei"):
        for steps in (30, 100):
            for lr in (0.1, 0.01):
                yield replace(base, steps=steps, lr=lr, draws=DRAWS[steps])


@dataclass(frozen=True, eq=False)
class Scored:
    """What is scored.

    Attributes:
        work: Network, data and loss.
        groups: All groups of the network.
        costs: Its costs by widths.
    """

    work: Workload
    groups: Sequence[ChannelGroup]
    costs: slimprune.CostModel

    @cached_property
    def free(self) -> Sequence[ChannelGroup]:
        """The groups that may be slimmed."""
        return free_groups(self.groups)

    def widths(self, values: Tensor) -> list[int]:
        """Return the widths of the free groups that the rule `global` makes of scores [C]."""
        parts = (values / values.sum()).split([group.width for group in self.free])
        scores = slimprune.Scores({group.id: part for group, part in zip(self.free, parts, strict=True)}, "", 1, None)
        plan = slimprune.allocate(scores, self.groups, slimprune.Budget(0.9, "params"), self.costs)
        return [len(plan.kept[group.id]) for group in self.free]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The draws of a cell.

    Attributes:
        values: Signed values, each draw divided by the sum of their sizes, float64 [draws, channels].
        seconds: Mean wall-clock time of a draw.
    """

    values: Tensor
    seconds: float


@cache
def scored(network: str, batch: int, cifar10: str, nuclei: str) -> Scored:
    """Return a network of `NETWORKS` with its data."""
    settings = dict(NETWORKS[network])
    settings["data"] = {"cifar10": cifar10, "nuclei": nuclei}.get(settings["data"], settings["data"])
    work = named_workload(make_recipe({**settings, "score_batch": batch}).with_defaults(), "cpu")
    groups = find_groups(work.model, work.example)
    return Scored(work, groups, slimprune.CostModel.of(work.model, groups, work.example))


def drawn(cell: Cell, subject: Scored, folder: Path, *, only_kept: bool) -> Drawn:
    """Return the draws of a cell; those in the folder are not made again, and new ones are kept there one by one."""
    file = folder / f"{cell.name}.npz"
    rows, seconds = ([], []) if not file.exists() else [list(np.load(file)[key]) for key in ("values", "seconds")]
    if (cell.steps == 0 and cell.criterion == "prospr") or cell.criterion == "grasp":
        criterion = make_criterion("snip" if cell.criterion == "prospr" else cell.criterion)
    else:
        criterion = make_criterion(cell.criterion, steps=cell.steps, lr=cell.lr)
    work, groups = subject.work, subject.free
    problem = Problem.prepare(work.model, groups, work.loss, "consumer", getattr(torch, cell.dtype))
    batches = iter(work.scoring_batches)
    for draw in range(cell.draws):
        part = list(islice(batches, criterion.batches_per_draw))
        if draw < len(rows) or only_kept:
            continue
        began = time.perf_counter()
        with precise_arithmetic():
            found = criterion.signed(replace(problem, batches=part, seed=draw))
        values = torch.cat([found[group.id] for group in groups]).double()
        rows.append((values / values.abs().sum()).numpy())
        seconds.append(time.perf_counter() - began)
        np.savez(file, values=np.stack(rows), seconds=np.array(seconds))
    return Drawn(torch.from_numpy(np.stack(rows[: cell.draws])), float(np.mean(seconds)))


def compared(cell: Cell, found: Drawn, subject: Scored) -> list[dict[str, Any]]:
    """Return the agreement of D draws with the others of the cell, for every D and both averages."""
    values, rows, total = found.values, [], len(found.values)
    widths = [group.width for group in subject.free]
    for count in (1, 2, 4, 8, 16, 32, 64):
        for average in ("signed", "absolute") if 2 * count <= total else ():
            figures, plans = [], []
            for part in range(min(3, total // count)):
                inside = torch.zeros(total, dtype=torch.bool)
                inside[part * count : (part + 1) * count] = True
                mine, many = values[inside], values[~inside].mean(0).abs()
                score = averaged(mine, average)
                expected = expected_agreement(score, mine, widths, torch.abs)
                of_layers = layer_agreement(mine, widths, partial(averaged, average=average))
                own = (*agreement(score, many, widths), expected, of_layers)
                figures.append([float("nan") if value is None else value for value in own])
                plans.append(subject.widths(score))
            means = dict(
                zip(("within", "between", "all", "estimate", "halves"), np.mean(figures, 0).tolist(), strict=True)
            )
            means = {name: None if np.isnan(value) else value for name, value in means.items()}
            several = np.array(plans, float)
            means["spread"] = float((several.std(0, ddof=1) / several.mean(0)).mean()) if len(plans) > 1 else None
            circumstances = {"seconds": found.seconds, "of": total - count}
            rows.append({**asdict(cell), "draws": count, "average": average, **means, **circumstances})
    return rows


def averaged(values: Tensor, average: str) -> Tensor:
    """Return the scores [C] of draws [D, C]."""
    return values.mean(0).abs() if average == "signed" else values.abs().mean(0)


def agreement(one: Tensor, other: Tensor, widths: Sequence[int]) -> tuple[float, float, float]:
    """Return the rank correlations within groups (mean), of the groups' means, and of all channels."""
    ones, others = one.split(list(widths)), other.split(list(widths))
    within = float(np.mean([spearman(a, b) for a, b in zip(ones, others, strict=True)]))
    between = spearman(torch.stack([a.mean() for a in ones]), torch.stack([b.mean() for b in others]))
    return within, between, spearman(one, other)


def write(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows with their circumstances, and the table."""
    command = "python benchmarks/stability.py " + " ".join(sys.argv[1:])
    circumstances = {"command": command, "device": device_name(torch.device("cpu")), "threads": 1}
    circumstances |= slimprune.versions()
    document = {"circumstances": circumstances, "rows": list(rows)}
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    lines = ["# Agreement of few draws with many", "", f"`{command}`", ""]
    lines += [f"{name}: {value}  " for name, value in circumstances.items() if name != "command"]
    head = ["network", "criterion", "M", "lr", "batch", "dtype", "draws", "average", "within", "between", "all"]
    keys = ("network", "criterion", "steps", "lr", "batch", "dtype", "draws", "average")
    figures = ("within", "between", "all", "estimate", "halves", "spread")
    cells = [
        [*(row[key] for key in keys), *("" if row[name] is None else f"{row[name]:.2f}" for name in figures),
         f"{row['seconds']:.2f}"]
        for row in rows
    ]  # fmt: skip
    table = markdown_table(
        [*head, "estimate of all", "halves, between", "spread of widths", "s per draw"], cells, left=(1, 5, 7)
    )
    out.with_suffix(".md").write_text("\n".join([*lines, "", table]) + "\n")


def main() -> None:
    """Make the missing draws and write the tables."""
    options = parse()
    torch.set_num_threads(1)
    folder = options.out.with_suffix(".draws")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    wanted = (replace(cell, draws=min(cell.draws, options.most_draws)) for n in options.networks for cell in grid(n))
    for cell in (cell for cell in wanted if cell.steps <= options.most_steps):
        if options.tables_only and not (folder / f"{cell.name}.npz").exists():
            continue
        subject = scored(cell.network, cell.batch, options.cifar10, options.nuclei)
        found = drawn(cell, subject, folder, only_kept=options.tables_only)
        print(f"{cell.name}: {len(found.values)} draws, {found.seconds:.2f} s each", flush=True)
        rows += compared(cell, found, subject)
    write(options.out, rows)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--most-draws", type=int, default=128)
    parser.add_argument("--most-steps", type=int, default=100)
    parser.add_argument("--tables-only", action="store_true", help="make no draws, use those in the folder")
    parser.add_argument("--cifar10", default="hf:../shared/data/cifar10")
    parser.add_argument("--nuclei", default="hf:../shared/data/nuclei")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
