"""Losses of the widths that the searches of `--rule learned` find, with equally many evaluations.

    python benchmarks/width_search.py --seeds 0 1 2 3 4 --out benchmarks/results/width-search-digits

For each seed one network is trained at random widths; every search starts from it and from the same first candidates.
Losses are those on images that no search has seen. Writes NAME.json, from which docs/results.md is filled.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import torch

import slimprune
from slimprune.measure import device_name
from slimprune.pipeline.learned import learn_widths
from slimprune.pipeline.stages import analyse
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from slimprune.types import WidthSearch, ignore


def main() -> None:
    """Search with every seed and write the file."""
    options = parse()
    rows = [row for seed in options.seeds for row in searched(options, seed)]
    circumstances = {
        "command": "python benchmarks/width_search.py " + " ".join(sys.argv[1:]),
        "device": device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        **slimprune.versions(),
    }
    document = {"circumstances": circumstances, "rows": rows}
    options.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet8")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--ratio", type=float, default=0.7, help="share of the MACs to remove")
    parser.add_argument("--sharing-epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def searched(options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Return what every search finds in the network of one seed."""
    settings = {name: getattr(options, name) for name in ("arch", "data", "ratio", "sharing_epochs")}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for way in get_args(WidthSearch):
            recipe = make_recipe({**settings, "of": "macs", "rule": "learned", "width_search": way, "seed": seed})
            resolved = recipe.with_defaults()
            analysis = analyse(resolved, named_workload(resolved, "cpu"), ignore)
            store = Path(folder) / way
            if rows:  # the training of the shared weights is the same for all
                shutil.copytree(Path(folder) / rows[0]["search"] / "shared", store / "shared")
            store.mkdir(exist_ok=True)
            found = learn_widths(resolved, analysis, analysis.work.model, None, ignore, store=store).to_json()
            rows.append({"seed": seed, **{name: found[name] for name in KEPT}})
            print(rows[-1], flush=True)
    return rows


KEPT = ("search", "rule", "evaluations", "images", "training", "loss", "uniform_loss", "generations")
"""What is kept of a search; see `results.Sharing`."""


if __name__ == "__main__":
    main()
