"""Latency budgets: requested and measured latency, and the MACs that are kept at equal latency.

    python benchmarks/latency_budget.py

For every architecture and batch size, it runs `slimprune plan --of latency` in a separate process, times the planned
network again in this process, and searches for uniform MAC budgets, rounded to 1, 8 and 16, whose networks have the
same latency in paired measurements. Writes benchmarks/results/latency-budget.json and .md after every row; the same
command resumes where it was stopped.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path

import torch

import slimprune
from slimprune.report import markdown_table
from slimprune.timing.runtime import NetworkTimer, Runtime

RESULTS = Path(__file__).parent / "results"
CLASSES = 10
STEPS, EQUAL = 5, 0.01
"""Maximum number of networks timed for one MAC budget; relative latency difference that ends the search."""


def main() -> None:
    """Measure missing rows and write the table."""
    options = parsed()
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    for arch, batch in product(options.archs, options.batches):
        case = Case(options, arch, batch)
        rows = known_first(rows, case, "latency", case.latency_row)
        write(options, rows)
        case.found = next(row for row in rows if case.owns(row) and row["method"] == "latency")
        for round_to in options.round_to:
            rows = known_first(rows, case, f"macs, round to {round_to}", partial(case.mac_row, round_to))
            write(options, rows)
    print(page(rows))


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=["resnet18", "vgg19"])
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 1])
    parser.add_argument("--round-to", nargs="+", type=int, default=[1, 8, 16], help="of the MAC budgets")
    parser.add_argument("--ratio", type=float, default=0.5, help="share of the latency to remove")
    parser.add_argument("--engine", default="onnxruntime-cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--image-size", type=int, default=32, help="pixels")
    parser.add_argument("--out", type=Path, default=RESULTS / "latency-budget.json")
    return parser.parse_args()


def known_first(rows: list[dict], case: "Case", method: str, measure) -> list[dict]:
    """Return the rows including this one, which is measured if it is missing."""
    if any(case.owns(row) and row["method"] == method for row in rows):
        return rows
    print(f"{case.arch}, batch {case.batch}, {method}", file=sys.stderr)
    return [*rows, {"arch": case.arch, "batch": case.batch, "ratio": case.options.ratio, "method": method, **measure()}]


class Case:
    """One architecture at one batch size."""

    def __init__(self, options: argparse.Namespace, arch: str, batch: int) -> None:
        self.options, self.arch, self.batch, self.found = options, arch, batch, None
        shape = (3, options.image_size, options.image_size)
        torch.manual_seed(0)
        self.model = slimprune.build(arch, slimprune.InputSpec(*shape, CLASSES))
        self.example = torch.zeros(2, *shape)
        self.groups = slimprune.find_groups(self.model, self.example)
        self.costs = slimprune.CostModel.of(self.model, self.groups, self.example)
        self.deployment = Runtime.of(options.engine, batch, options.threads)
        self.clocks = {}

    def owns(self, row: dict) -> bool:
        """Return whether a row belongs to this case."""
        return (row["arch"], row["batch"], row["ratio"]) == (self.arch, self.batch, self.options.ratio)

    def latency_row(self) -> dict:
        """Plan a latency budget in another process and time its network again in this one."""
        settings = {
            "arch": self.arch, "image-size": self.options.image_size, "ratio": self.options.ratio, "of": "latency",
            "engine": self.options.engine, "bench-batch": self.batch, "bench-threads": self.deployment.place.threads,
        }  # fmt: skip
        flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "slimprune", "plan", *flags, "--json"]
        document = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        widths = {row["group"]: row["slim"] for row in document["widths"]}
        again = self.clock().row(self.slim(widths))
        return {
            "round_to": document["timing"]["rounding"]["round_to"],
            "widths": widths,
            "macs_kept": 1 - document["macs"]["removed"],
            "planned": document["budget"],
            "again": {"removed": 1 - 1 / again["speedup"], **again},
            "plans_timed": len(document["timing"]["trials"]),
            "seconds": document["seconds"],
            "command": " ".join(["slimprune", "plan", *flags]),
            "versions": slimprune.versions(),
        }

    def mac_row(self, round_to: int) -> dict:
        """Find the MAC budget whose uniform network has the latency budget's latency in paired measurements."""
        left, tried = self.found["macs_kept"], []
        bounds = [0.0, 1.0]
        for _ in range(STEPS):
            plan = slimprune.allocate(
                None, self.groups, slimprune.Budget(1 - left, "macs"), self.costs, rule="uniform", round_to=round_to
            )
            row = self.clock(self.found["widths"]).row(self.slim(plan.widths))
            tried.append({"asked": left, "macs_kept": 1 - plan.achieved, "relative": 1 / row["speedup"]})
            tried[-1]["interval"] = [1 / bound for bound in reversed(row["interval"])]
            if abs(tried[-1]["relative"] - 1) <= EQUAL:
                break
            bounds[tried[-1]["relative"] > 1] = left
            guess = left / tried[-1]["relative"]
            left = guess if bounds[0] < guess < bounds[1] else sum(bounds) / 2
        return {"round_to": round_to, "macs_kept": at_equal_latency(tried), "tried": tried}

    def clock(self, widths: dict | None = None):
        """Return the timer of networks against the dense one, or against one of these widths; created once."""
        key = None if widths is None else tuple(widths.items())
        if key not in self.clocks:
            reference = self.model if widths is None else self.slim(widths)
            self.clocks[key] = NetworkTimer(self.deployment, reference, self.example)
        return self.clocks[key]

    def slim(self, widths: dict):
        """Return the network with the first channels of every group, with a checked proof."""
        kept = {group.id: torch.arange(widths.get(group.id, group.width)) for group in self.groups}
        plan = slimprune.Plan(
            tuple(self.groups), kept, slimprune.Budget(0.5), "uniform", self.costs.dense, self.costs.dense
        )
        made = slimprune.slim(self.model, plan)
        return made.with_proof(slimprune.prove(self.model, made, self.example)).module


def at_equal_latency(tried: list[dict]) -> float:
    """Return the MACs kept at a relative latency of 1, interpolated between the nearest networks on both sides.

    If all networks are on one side, the MACs of the nearest one are returned.
    """
    below = max((one for one in tried if one["relative"] <= 1), key=lambda one: one["relative"], default=None)
    above = min((one for one in tried if one["relative"] > 1), key=lambda one: one["relative"], default=None)
    if below is None or above is None:
        return min(tried, key=lambda one: abs(one["relative"] - 1))["macs_kept"]
    share = (1 - below["relative"]) / (above["relative"] - below["relative"])
    return (1 - share) * below["macs_kept"] + share * above["macs_kept"]


def write(options: argparse.Namespace, rows: list[dict]) -> None:
    """Write all rows as JSON and as a Markdown page."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(page(rows) + "\n")


def page(rows: list[dict]) -> str:
    """Return a table of latency budgets and of MAC budgets with equal latency, followed by the findings."""
    rivals = list(dict.fromkeys(row["method"] for row in rows if row["method"] != "latency"))
    heads = ["latency asked to go", "plan", "measured again", "dense ms", "slim ms", "rounded to", "plans timed"]
    head = ["arch", "batch", *heads, "MACs kept", *(f"{rival}: MACs kept" for rival in rivals)]
    lines, findings, where = [], [], []
    for row in (row for row in rows if row["method"] == "latency"):
        same = [one for one in rows if all(one[key] == row[key] for key in ("arch", "batch", "ratio"))]
        others = {one["method"]: one["macs_kept"] for one in same if one is not row}
        again = row["again"]
        left, right = (1 - 1 / end for end in again["interval"])
        lines.append([
            row["arch"], str(row["batch"]), percent(row["ratio"]), percent(row["planned"]["achieved"]),
            f"{percent(again['removed'])} ({100 * left:.1f}-{100 * right:.1f})",
            f"{again['dense_ms']:.2f}", f"{again['slim_ms']:.2f}", str(row["round_to"]), str(row["plans_timed"]),
            percent(row["macs_kept"]), *(percent(others[name]) if name in others else "" for name in rivals),
        ])  # fmt: skip
        findings.append(finding(row, others))
        threads = f"{again['threads']} thread{'s' if again['threads'] > 1 else ''}"
        where.append(f"- {again['engine']} on {again['device']}, {threads}, {again['version']}: `{row['command']}`")
    return "\n\n".join([markdown_table(head, lines), "\n".join(findings), "\n".join(where)])


def finding(row: dict, others: dict[str, float]) -> str:
    """Return a sentence on whether a budget was met and kept more MACs than others of equal latency."""
    missed = (1 - row["again"]["removed"]) / (1 - row["ratio"]) - 1
    met = "met within 5 %" if abs(missed) <= 0.05 else "not met within 5 %"
    parts = [f"- {row['arch']}, batch {row['batch']}: {met} on re-measurement ({100 * missed:+.1f} % latency)"]
    for name, kept in others.items():
        gain = row["macs_kept"] / kept - 1
        verdict = "more" if gain > 0 else "fewer"
        parts.append(f"{100 * abs(gain):.1f} % {verdict} MACs than {name}")
    return "; ".join(parts) + "."


def percent(share: float) -> str:
    """Format a fraction as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
