"""What `infer_speed.py` and `train_speed.py` share: plans for budgets, and tables of what they gain."""

import argparse
import json
import sys
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

import slimprune

RESULTS = Path(__file__).parent / "results"
WITHOUT_SCORES = ("uniform", "erk")
CLASSES = 10


class Method(NamedTuple):
    """How channels are scored and shared out: `criterion/rule`."""

    name: str
    criterion: str
    rule: str


def parser_of(description: str, name: str, **defaults) -> argparse.ArgumentParser:
    """The command line that both scripts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=["vgg19", "resnet18"])
    parser.add_argument("--image-size", type=int, default=32, help="pixels")
    parser.add_argument("--budgets", nargs="+", help="what to remove, such as macs=0.9", default=defaults["budgets"])
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
    """`3sp/global`, or a rule alone where it needs no scores."""
    criterion, _, rule = text.rpartition("/")
    return Method(text, criterion or "prospr", rule)


def measured(options: argparse.Namespace) -> list[dict]:
    """Every architecture, budget, method and rounding: dense against the plan, by all engines and batch sizes."""
    sampling = slimprune.Sampling(options.samples, options.seconds)
    settings = slimprune.BenchSettings(
        tuple(options.engines), tuple(options.batches), options.threads, options.device, sampling
    )
    settings.comparisons()
    cells, options.left_out = [], []
    for arch in options.archs:
        dense = Dense(options, arch)
        for budget, how, round_to in product(options.budgets, options.methods, options.round_to):
            about = {"arch": arch, "budget": budget, "method": how, "round_to": round_to}
            cells += compared(dense, about, settings)
            write(options, cells)
    return cells


def compared(dense: "Dense", about: dict, settings) -> list[dict]:
    """The comparisons of one plan; none where the budget cannot be met."""
    name = f"{about['arch']}, {about['budget']}, {about['method']}, round to {about['round_to']}"
    try:
        plan = dense.plan(about["budget"], method(about["method"]), about["round_to"])
    except slimprune.SlimpruneError as error:
        dense.options.left_out.append(f"{name}: {error}")
        return []
    rows = slimprune.compare_speed(dense.model, dense.slim(plan), dense.shape, settings)
    print(f"{name}: done", file=sys.stderr)
    return [{**about, "params": plan.slim.params, **row} for row in rows]


class Dense:
    """A dense network with its groups and costs, and the scores that were needed so far."""

    def __init__(self, options: argparse.Namespace, arch: str) -> None:
        self.options, self.scores = options, {}
        self.shape = (3, options.image_size, options.image_size)
        torch.manual_seed(0)
        self.model = slimprune.build(arch, slimprune.InputSpec(*self.shape, CLASSES))
        self.example = torch.zeros(2, *self.shape)
        self.groups = slimprune.find_groups(self.model, self.example)
        self.costs = slimprune.CostModel.of(self.model, self.groups, self.example)

    def plan(self, budget: str, how: Method, round_to: int):
        """What stays."""
        quantity, ratio = budget.split("=")
        scores = None if how.rule in WITHOUT_SCORES else self.scored(how.criterion)
        wanted = slimprune.Budget(float(ratio), quantity)
        return slimprune.allocate(scores, self.groups, wanted, self.costs, rule=how.rule, round_to=round_to)

    def scored(self, criterion: str):
        """Scores by real images, made once."""
        if criterion not in self.scores:
            options = self.options
            data = slimprune.load_data(
                options.data, image_size=options.image_size if options.data == "digits" else None
            )
            batches = data.scoring_batches(options.score_batch, seed=0, device="cpu")
            arguments = {"criterion": criterion, "draws": options.draws, "seed": 0}
            self.scores[criterion] = slimprune.score(self.model, self.groups, batches, F.cross_entropy, **arguments)
        return self.scores[criterion]

    def slim(self, plan):
        """The slim network, proven."""
        made = slimprune.slim(self.model, plan)
        return made.proven(slimprune.prove(self.model, made, self.example)).module


def write(options: argparse.Namespace, cells: list[dict], heading: str = "", extra: tuple = ()) -> None:
    """All cells as JSON and as a Markdown table, with what they depend on."""
    circumstances = {"command": f"python benchmarks/{Path(sys.argv[0]).name} " + " ".join(sys.argv[1:])}
    circumstances |= {"image_size": options.image_size, "inputs": "synthetic", **slimprune.versions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    document = {"circumstances": circumstances, "cells": cells, "left_out": options.left_out}
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    notes = [f"- left out: {plan}" for plan in options.left_out]
    notes += [f"- {name}: {value}" for name, value in circumstances.items()]
    options.out.with_suffix(".md").write_text("\n".join([heading, table(cells, extra), "", *notes]).lstrip("\n") + "\n")


def table(cells: list[dict], extra: tuple = ()) -> str:
    """A row for every comparison; `extra` are further columns: (name, cell to text)."""
    columns = [
        ("arch", lambda c: c["arch"]),
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
    head = [[name for name, _ in columns], ["---"] * len(columns)]
    lines = head + [[text(cell) for _, text in columns] for cell in cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def speedup(cell: dict) -> str:
    """The speed-up with its interval, or that there is none."""
    low, high = cell["interval"]
    mark = " no difference" if cell["verdict"] == "no difference" else ""
    return f"{cell['speedup']:.2f} ({low:.2f}-{high:.2f}){mark}"
