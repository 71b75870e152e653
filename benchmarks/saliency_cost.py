"""Seconds and peak memory of one ProsPr draw for different numbers of inner steps, each in a separate process.

    python benchmarks/saliency_cost.py --batch 128 --steps 3 10 --out benchmarks/results/saliency-cost-NAME

Each number of steps is measured with the package's adjoint and, unless `--adjoint-only` is given, with the whole inner
training unrolled in one autograd graph, as in the paper's code. The peak is the growth of the process's memory (on
CUDA: of the allocator's peak). Images are random, because the cost does not depend on their content. Writes NAME.json
and NAME.md.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import slimprune
from slimprune.measure import PeakMemory, device_name
from slimprune.report import markdown_table
from slimprune.saliency.criteria.prospr import ProsPr

METHODS = ("adjoint", "unrolled")


def main() -> None:
    """Measure every number of steps with every method and write the table."""
    options = parse()
    if options.one is not None:
        method, steps = options.one
        print(json.dumps(measure(options, method, int(steps))))
        return
    command = [sys.executable, __file__, *sys.argv[1:]]
    rows = []
    for steps in options.steps:
        for method in METHODS[: 1 if options.adjoint_only else 2]:
            rounds = [
                json.loads(subprocess.check_output([*command, "--one", method, str(steps)]))
                for _ in range(options.rounds)
            ]
            rows.append(min(rounds, key=lambda row: row["seconds"]))
            print(sentence(rows[-1]), flush=True)
    circumstances = {
        "command": "python benchmarks/saliency_cost.py " + " ".join(sys.argv[1:]),
        "device": device_name(torch.device(options.device)),
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        **slimprune.versions(),
    }
    options.out.with_suffix(".json").write_text(
        json.dumps({"circumstances": circumstances, "rows": rows}, indent=1) + "\n"
    )
    options.out.with_suffix(".md").write_text(table(rows, circumstances))


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="vgg19")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--rounds", type=int, default=2, help="processes per row, of which the fastest counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--adjoint-only", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace, method: str, steps: int) -> dict[str, Any]:
    """Measure one draw with `steps` inner steps."""
    torch.manual_seed(0)
    model = slimprune.build(options.arch, slimprune.InputSpec(3, 32, 32, 10)).to(options.device)
    groups = slimprune.find_groups(model, torch.zeros(2, 3, 32, 32, device=options.device))
    batch = (torch.randn(options.batch, 3, 32, 32), torch.randint(0, 10, (options.batch,)))
    criterion = (ProsPr if method == "adjoint" else Unrolled)(steps=steps, lr=1e-3)
    with PeakMemory(options.device) as memory:
        started = time.perf_counter()
        slimprune.score(model, groups, [batch] * (steps + 1), F.cross_entropy, criterion=criterion, draws=1)
        seconds = time.perf_counter() - started
    return {"method": method, "steps": steps, "seconds": seconds, "peak_bytes": memory.peak_bytes}


class Unrolled(ProsPr):
    """The same scores with the whole inner training in one autograd graph."""

    def score(self, problem: slimprune.Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        initial = problem.initial.requires_grad_()
        weights, velocity = initial, torch.zeros_like(initial)
        for step in range(self.steps):
            (gradient,) = torch.autograd.grad(problem.loss_at(weights, step), weights, create_graph=True)
            velocity = self.momentum * velocity + gradient + self.weight_decay * weights
            weights = weights - self.lr * velocity
        (adjoint,) = torch.autograd.grad(problem.loss_at(weights, self.steps), initial)
        return {group: gates.abs() for group, gates in problem.gate_gradient(adjoint).items()}


def sentence(row: Mapping[str, Any]) -> str:
    """Format one row as text."""
    return f"M = {row['steps']:3d}, {row['method']}: {row['seconds']:7.1f} s, {row['peak_bytes'] / 2**30:6.2f} GiB"


def table(rows: Sequence[Mapping[str, Any]], circumstances: Mapping[str, Any]) -> str:
    """Return every row, with its cost relative to the unrolled graph."""
    unrolled = {row["steps"]: row for row in rows if row["method"] == "unrolled"}
    lines = ["# Cost of one ProsPr draw", "", f"`{circumstances['command']}`", ""]
    lines += [f"{name}: {value}  " for name, value in circumstances.items() if name != "command"]
    head = ["M", "method", "seconds", "peak GiB", "time / unrolled", "memory / unrolled"]
    cells = []
    for row in rows:
        other = unrolled.get(row["steps"])
        shares = [f"{row[key] / other[key]:.0%}" if other else "" for key in ("seconds", "peak_bytes")]
        gib = f"{row['peak_bytes'] / 2**30:.2f}"
        cells.append([row["steps"], row["method"], f"{row['seconds']:.1f}", gib, *shares])
    return "\n".join([*lines, "", markdown_table(head, cells, left=(1,))]) + "\n"


if __name__ == "__main__":
    main()
