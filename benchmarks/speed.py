"""Code shared by `infer_speed.py` and `train_speed.py`: plans for budgets, and tables of speed-ups."""

import argparse
import json
import sys
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

import slimprune
from slimprune.report import markdown_table

RESULTS = Path(__file__).parent / "results"
WITHOUT_SCORES = ("uniform", "erk")
CLASSES = 10


class Method(NamedTuple):
    """Criterion that scores channels and rule that allocates them: `criterion/rule`."""

    name: str
    criterion: str
    rule: str


def parser_of(description: str, name: str, **defaults) -> argparse.ArgumentParser:
    """Return the command-line parser shared by both scripts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=["vgg19", "resnet18"])
    parser.add_argument("--image-sizes", nargs="+", type=int, default=defaults["image_sizes"], help="pixels")
    parser.add_argument("--of", nargs="+", default=defaults["of"], choices=["params", "macs", "channels"])
    parser.add_argument("--ratios", nargs="+", type=float, default=defaults["ratios"], help="shares to remove")
    parser.add_argument("--methods", nargs="+", default=defaults["methods"], help="CRITERION/RULE, or uniform or erk")
    parser.add_argument("--round-to", nargs="+", type=int, default=defaults["round_to"])
    parser.add_argument("--batches", nargs="+", type=int, default=defaults["batches"])
    parser.add_argument("--engines", nargs="+", default=defaults["engines"])
    parser.add_argument("--data", default="digits", help="what is scored; the times do not depend on it")
    parser.add_argument("--score-batch", type=int, default=128)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--samples", type=int, default=200, help="pairs of each comparison")
    parser.add_argument("--seconds", type=float, default=20.0, help="most time of each comparison")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    return parser


def method(text: str) -> Method:
    """Parse `3sp/global`, or a rule alone if it needs no scores."""
    criterion, _, rule = text.rpartition("/")
    return Method(text, criterion or "prospr", rule)


def measured(options: argparse.Namespace, *, extra: tuple = (), heading=lambda cells: "") -> list[dict]:
    """Compare every plan with dense for every engine and batch size; rows that are already in the file are kept."""
    sampling = slimprune.Sampling(options.samples, options.seconds)
    settings = slimprune.BenchSettings(
        tuple(options.engines), tuple(options.batches), options.threads, options.device, sampling
    )
    comparisons = [(engine.name, batch) for engine, batch in settings.comparisons()]
    cells = json.loads(options.out.read_text())["cells"] if options.out.exists() else []
    options.left_out = []
    budgets = [f"{of}={ratio:g}" for of, ratio in product(options.of, options.ratios)]
    for arch, size in product(options.archs, options.image_sizes):
        dense = Dense(options, arch, size)
        for budget, how, round_to in product(budgets, options.methods, options.round_to):
            plan = {"arch": arch, "image_size": size, "budget": budget, "method": how, "round_to": round_to}
            for engine, batch in comparisons:
                about = {**plan, "engine": engine, "batch": batch, "asked": asked(options)}
                if any(about.items() <= cell.items() for cell in cells):
                    continue
                cells += compared(dense, about, replace(settings, engines=(engine,), batches=(batch,)))
                write(options, cells, extra, heading)
    write(options, cells, extra, heading)
    print(heading(cells) + table(cells, extra))
    return cells


def asked(options: argparse.Namespace) -> str:
    """Return the other settings that a row depends on."""
    names = ("device", "threads", "samples", "seconds", "data", "draws", "score_batch")
    return " ".join(f"{name}={getattr(options, name)}" for name in names)


def compared(dense: "Dense", about: dict, settings) -> list[dict]:
    """Return the row of one plan, engine and batch; empty if the budget cannot be met."""
    name = ", ".join(f"{about[name]}" for name in ("arch", "image_size", "budget", "method"))
    name += f", round to {about['round_to']}"
    try:
        slim, plan = dense.slimmed(about["budget"], about["method"], about["round_to"])
    except slimprune.SlimpruneError as error:
        line = f"{name}: {error}"
        dense.options.left_out += [] if line in dense.options.left_out else [line]
        return []
    [row] = slimprune.compare_speed(dense.model, slim, dense.shape, settings)
    print(f"{name}, {about['engine']}, batch {about['batch']}: {row['verdict']}", file=sys.stderr)
    return [{**about, "params": plan.slim.params, **row}]


class Dense:
    """A dense network with its groups, costs, scores and slim networks, each computed once and only when needed."""

    def __init__(self, options: argparse.Namespace, arch: str, image_size: int) -> None:
        self.options, self.scores, self.made = options, {}, {}
        self.shape = (3, image_size, image_size)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = slimprune.build(arch, slimprune.InputSpec(*self.shape, CLASSES))
        self.example = torch.zeros(2, *self.shape)

    @cached_property
    def groups(self):
        """Channel groups of the network."""
        return slimprune.find_groups(self.model, self.example)

    @cached_property
    def costs(self):
        """Parameters and MACs as functions of the widths."""
        return slimprune.CostModel.of(self.model, self.groups, self.example)

    def slimmed(self, budget: str, how: str, round_to: int):
        """Return the slim network, with a checked proof, and its plan."""
        if (budget, how, round_to) not in self.made:
            plan = self.plan(budget, method(how), round_to)
            made = slimprune.slim(self.model, plan)
            self.made[budget, how, round_to] = (
                made.with_proof(slimprune.prove(self.model, made, self.example)).module,
                plan,
            )
        return self.made[budget, how, round_to]

    def plan(self, budget: str, how: Method, round_to: int):
        """Return the plan of the channels to keep."""
        quantity, ratio = budget.split("=")
        scores = None if how.rule in WITHOUT_SCORES else self.scored(how.criterion)
        wanted = slimprune.Budget(float(ratio), quantity)
        return slimprune.allocate(scores, self.groups, wanted, self.costs, rule=how.rule, round_to=round_to)

    def scored(self, criterion: str):
        """Return the scores computed from real images, once per criterion."""
        if criterion not in self.scores:
            options = self.options
            data = slimprune.load_data(options.data, image_size=self.shape[1] if options.data == "digits" else None)
            batches = data.scoring_batches(options.score_batch, seed=0, device="cpu")
            arguments = {"criterion": criterion, "draws": options.draws, "seed": 0}
            self.scores[criterion] = slimprune.score(self.model, self.groups, batches, F.cross_entropy, **arguments)
        return self.scores[criterion]


def write(options: argparse.Namespace, cells: list[dict], extra: tuple, heading) -> None:
    """Write all cells as JSON and as a Markdown table, with the conditions that they depend on."""
    circumstances = {"command": f"python benchmarks/{Path(sys.argv[0]).name} " + " ".join(sys.argv[1:])}
    circumstances |= {"inputs": "synthetic", **slimprune.versions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    document = {"circumstances": circumstances, "cells": cells, "left_out": options.left_out}
    partial = options.out.with_suffix(".part")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(options.out)
    notes = [f"- left out: {plan}" for plan in options.left_out]
    notes += [f"- {name}: {value}" for name, value in circumstances.items()]
    options.out.with_suffix(".md").write_text("\n".join([heading(cells) + table(cells, extra), "", *notes]) + "\n")


def table(cells: list[dict], extra: tuple) -> str:
    """Return a table with a row for every comparison; `extra` are further columns: (name, cell to text)."""
    columns = [
        ("arch", lambda c: c["arch"]),
        ("pixels", lambda c: str(c["image_size"])),
        ("removed", lambda c: c["budget"]),
        ("method", lambda c: c["method"]),
        ("round to", lambda c: str(c["round_to"])),
        ("engine", lambda c: c["engine"]),
        ("batch", lambda c: str(c["batch"])),
        ("dense ms", lambda c: f"{c['dense_ms']:.2f}"),
        ("slim ms", lambda c: f"{c['slim_ms']:.2f}"),
        ("speed-up (interval)", speedup),
        ("MACs divided by", lambda c: f"{c['macs']['reduction']:.2f}"),
        ("realised share", lambda c: f"{100 * c['realised_share']:.0f} %"),
        *extra,
        ("device", lambda c: f"{c['device']}, {c['threads']} threads"),
    ]
    rows = [[text(cell) for _, text in columns] for cell in cells]
    return markdown_table([name for name, _ in columns], rows, left=(0, 2, 3, 5, len(columns) - 1))


def speedup(cell: dict) -> str:
    """Format the speed-up with its interval, and note if there is no difference."""
    low, high = cell["interval"]
    mark = " no difference" if cell["verdict"] == "no difference" else ""
    return f"{cell['speedup']:.2f} ({low:.2f}-{high:.2f}){mark}"
