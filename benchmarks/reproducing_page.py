"""The page on reproducing the papers, written from the recipes between `<!-- recipes: NAME -->` and `<!-- end -->`.

    python benchmarks/reproducing_page.py            # after a change of a recipe
    python benchmarks/reproducing_page.py --check    # exit code 1 if the page would change

A test runs the check.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimprune.comparison.grid import make_grid
from slimprune.recipe import read_recipe

ROOT = Path(__file__).parents[1]
PAGE = Path("docs/reproducing.md")
SYSTEMS = {"single weights": "systems-weights-digits", "channels": "systems-channels-digits"}
PAPERS = {
    "table1-resnet50": "ProsPr, table 1",
    "table1-vgg19": "ProsPr, table 1",
    "table1-digits": "ProsPr, table 1 (stand-in)",
    "table1-imagenet-first-order": "ProsPr, table 1, as channels",
    "table2-cifar10-vgg19": "ProsPr, table 2",
    "table2-cifar100-vgg19": "ProsPr, table 2",
    "table2-digits": "ProsPr, table 2 (stand-in)",
    "table3-meta-steps-cifar10": "ProsPr, table 3",
    "table3-meta-steps-cifar100": "ProsPr, table 3",
    "table3-digits": "ProsPr, table 3 (stand-in)",
    "table4-resnet20": "ProsPr, figure 2 and table 4",
    "table4-cpu-resnet20": "ProsPr, figure 2 and table 4 (stand-in)",
    "figure2-resnet20-cifar10": "ProsPr, figure 2, as channels",
    "table5-vgg16": "ProsPr, figure 2 and table 5",
    "table5-digits": "ProsPr, figure 2 and table 5 (stand-in)",
    "table6-resnet18-tiny": "ProsPr, figure 2 and table 6",
    "table6-cpu-resnet18": "ProsPr, figure 2 and table 6 (stand-in)",
    "table7-wall-time": "ProsPr, table 7",
    "table7-digits": "ProsPr, table 7 (stand-in)",
    "table8-unet-u373": "ProsPr, table 8",
    "table9-unet-hela": "ProsPr, table 9",
    "nuclei-unet-cpu": "ProsPr, tables 8 and 9 (stand-in)",
    "table10-pretrained-init": "ProsPr, table 10",
    "snip-alexnet-s": "SNIP, main table",
    "snip-alexnet-b": "SNIP, main table",
    "snip-wrn-14-8": "SNIP, main table",
    "snip-wrn-20-8": "SNIP, main table",
    "snip-digits": "SNIP, main table (stand-in)",
    "grasp-vgg19": "GraSP, main table",
    "grasp-wrn-32-2": "GraSP, main table",
    "grasp-digits": "GraSP, main table (stand-in)",
    "collapse-digits": "SynFlow, layer collapse (stand-in)",
    "controls-resnet20": "Frankle et al., shuffled, re-initialised and inverted masks",
    "controls-digits": "Frankle et al., shuffled, re-initialised and inverted masks (stand-in)",
    "later-resnet20": "Frankle et al., figure 7",
    "later-digits": "Frankle et al., figure 7 (stand-in)",
    "tickets-cpu-digits": "lottery tickets (stand-in)",
}
"""What of which paper a grid is for, by the name of its file."""


def main() -> int:
    """Update the marked sections of the page; with `--check`, only return 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page would change")
    only_check, text = parser.parse_args().check, filled()
    if text == (ROOT / PAGE).read_text():
        return 0
    print(f"{PAGE} {'is out of date' if only_check else 'is written'}")
    if not only_check:
        (ROOT / PAGE).write_text(text)
    return int(only_check)


def filled() -> str:
    """Return the text of the page with current tables between its markers."""
    sections = {"systems": systems, "papers": papers}
    marks = r"(<!-- recipes: (\w+) -->\n).*?(<!-- end -->)"
    text = (ROOT / PAGE).read_text()
    return re.sub(marks, lambda mark: f"{mark[1]}\n{sections[mark[2]]()}\n\n{mark[3]}", text, flags=re.DOTALL)


def systems() -> str:
    """Return one row for each system, with the options that select it at single weights and at channels."""
    rows = {unit: make_grid(read_recipe(_file(name))).rows for unit, name in SYSTEMS.items()}
    names = list(dict.fromkeys(name for own in rows.values() for name in own))
    lines = [[name, *(_options(unit, own.get(name)) for unit, own in rows.items())] for name in names]
    return _table(["system", *rows], lines)


def papers() -> str:
    """Return one row for each grid that is for a paper: the network, what is pruned, and the number of figures."""
    lines = []
    for name, paper in PAPERS.items():
        grid = make_grid(read_recipe(_file(name)))
        unit = "single weights" if grid.base.get("unit") == "weights" else "channels"
        budgets = [budget.replace("=", " ") for budget in grid.budgets]
        shown = ", ".join(budgets) if len(budgets) <= 4 else f"{budgets[0]} to {budgets[-1]}, {len(budgets)} budgets"
        network = f"{grid.base['arch']}, {Path(grid.base['data'].rpartition(':')[2]).name}"
        published = str(len(grid.paper)) if grid.paper else ""
        lines.append([paper, network, unit, shown, published, f"`slimprune compare recipes/{name}.yaml`"])
    return _table(["paper", "network and data", "unit", "removed", "published figures", "command"], lines)


def _options(unit: str, fields: Mapping[str, Any] | None) -> str:
    """Return the flags of a row; empty if the system has none for this unit."""
    if fields is None:
        return ""
    given = {**({"unit": "weights"} if unit == "single weights" else {}), **fields}
    flags = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in given.items()]
    return f"`{' '.join(flags)}`"


def _file(name: str) -> Path:
    return ROOT / "recipes" / f"{name}.yaml"


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


if __name__ == "__main__":
    sys.exit(main())
