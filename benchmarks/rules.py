"""Comparison of allocation rules at equal budgets: same scores, same recipe, same seeds, real training.

    python benchmarks/rules.py --arch vgg19 --data hf:DIR --budgets macs=0.95 params=0.95 --seeds 0 1 \
        --epochs 10 --train-size 12800 --out benchmarks/results/NAME.json

Writes NAME.json after every cell (existing cells are not run again) and NAME.md at the end.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import track

import slimprune
from slimprune.report import markdown_table


def main() -> None:
    """Run the missing cells."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    data = slimprune.load_data(options.data)
    cells = json.loads(options.out.read_text())["cells"] if options.out.exists() else []
    done = {(cell["arch"], cell["budget"], cell["rule"], cell["seed"]) for cell in cells}
    wanted = [(s, b, r) for s in options.seeds for b in options.budgets for r in options.rules]
    for seed, budget, rule in track(wanted, description="cells"):
        if (options.arch, budget, rule, seed) not in done:
            cells.append(cell(options, data, seed, budget, rule))
            write(options, cells)
    write(options, cells)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="vgg19")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--budgets", nargs="+", default=["params=0.95", "macs=0.95"])
    parser.add_argument("--rules", nargs="+", default=["global", "tempered", "uniform"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--floor", type=float, default=0.05)
    parser.add_argument("--train-size", type=int, help="train on the first N images only")
    parser.add_argument("--test-size", type=int, help="test on the first N images only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def shortened(data, train_size: int | None, test_size: int | None):
    """Return the data set with fewer images, for machines without an accelerator."""
    (train_x, train_y), (test_x, test_y) = data.parts["train"], data.parts["test"]
    return slimprune.TensorData.from_arrays(
        data.name,
        train_x[:train_size],
        train_y[:train_size],
        test_x[:test_size],
        test_y[:test_size],
        data.class_names,
        data.augmentation,
    )


_SCORED: dict[tuple[str, int], tuple] = {}


def scored(options: argparse.Namespace, data, seed: int):
    """Return model, example, groups, costs and scores of one seed, computed once for all budgets and rules."""
    if (options.arch, seed) not in _SCORED:
        torch.manual_seed(seed)
        model = slimprune.build(options.arch, slimprune.InputSpec(data.channels, data.height, data.width, data.classes))
        model = model.to(options.device)
        example = data.samples(2).to(options.device)
        groups = slimprune.find_groups(model, example)
        costs = slimprune.CostModel.of(model, groups, example)
        batches = data.scoring_batches(options.batch_size, seed=seed, device=options.device)
        scores = slimprune.score(model, groups, batches, F.cross_entropy, draws=options.draws, seed=seed)
        _SCORED[options.arch, seed] = model, example, groups, costs, scores
    return _SCORED[options.arch, seed]


def cell(options: argparse.Namespace, data, seed: int, budget: str, rule: str) -> dict:
    """Train one slim network and return its results."""
    short = shortened(data, options.train_size, options.test_size)
    model, example, groups, costs, scores = scored(options, short, seed)
    of, ratio = budget.split("=")
    plan = slimprune.allocate(scores, groups, slimprune.Budget(float(ratio), of), costs, rule=rule, floor=options.floor)
    slim = slimprune.slim(model, plan)
    slim = slim.with_proof(slimprune.prove(model, slim, example))
    settings = slimprune.TrainSettings(epochs=options.epochs, device=options.device, seed=seed)
    train = short.train_batches(options.batch_size, seed=seed, device=options.device)
    test = short.test_batches(1000, device=options.device)
    started = time.perf_counter()
    result = slimprune.train(slim.module, train, test, settings, loss=F.cross_entropy, metric=slimprune.top1)
    return {
        "arch": options.arch,
        "budget": budget,
        "rule": rule,
        "seed": seed,
        "top1": result.final,
        "params": plan.slim.params,
        "macs": plan.slim.macs,
        "channels": plan.slim.channels,
        "widths": list(plan.widths.values()),
        "stability": scores.stability,
        "seconds": time.perf_counter() - started,
        "circumstances": circumstances(options),
    }


def write(options: argparse.Namespace, cells: list[dict]) -> None:
    """Write all cells as JSON and as a table."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"cells": cells}, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(cells))


def circumstances(options: argparse.Namespace) -> dict[str, str | int]:
    """Return the conditions, besides its cell, that a figure depends on."""
    on_gpu = options.device.startswith("cuda")
    return {
        "command": "python benchmarks/rules.py " + " ".join(sys.argv[1:]),
        "device": torch.cuda.get_device_name() if on_gpu else "CPU",
        "threads": torch.get_num_threads(),
        **slimprune.versions(),
    }


def table(cells: list[dict]) -> str:
    """Return mean, spread and size by architecture, budget and rule, followed by the distinct circumstances."""
    head = ["arch", "removed", "rule", "top-1 (mean ± sd)", "n", "params", "MACs"]
    rows = []
    for arch, budget, rule in dict.fromkeys((c["arch"], c["budget"], c["rule"]) for c in cells):
        same = [c for c in cells if (c["arch"], c["budget"], c["rule"]) == (arch, budget, rule)]
        top1 = [100 * c["top1"] for c in same]
        spread = f" ± {statistics.stdev(top1):.2f}" if len(top1) > 1 else ""
        params = statistics.mean(c["params"] for c in same)
        macs = statistics.mean(c["macs"] for c in same) / 1e6
        mean = f"{statistics.mean(top1):.2f}{spread}"
        rows.append([arch, budget, rule, mean, len(same), f"{params:,.0f}", f"{macs:.1f}M"])
    notes = dict.fromkeys(f"- {name}: {value}" for c in cells for name, value in c["circumstances"].items())
    return "\n".join([markdown_table(head, rows, left=(0, 1, 2)), "", *notes]) + "\n"


if __name__ == "__main__":
    main()
