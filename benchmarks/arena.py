"""The arena: every way of choosing widths on every network, at equal budgets, training and seeds.

    python benchmarks/arena.py --jobs 2
    python benchmarks/arena.py --only resnet20-macs80 resnet8-macs50 --rows uniform,early,search --seeds 0,1,2
    python benchmarks/arena.py --table

Trains the cells of recipes/arena/*.yaml that have no record yet in benchmarks/results/arena/NETWORK/cells, so that the
same command resumes, also on another machine that has the records. Networks are trained in bfloat16 where that is
faster and in float32 elsewhere, and compared with networks of the same precision only. Then writes compare.json and .md
for every network and precision, league.json and league.md over all of them, and prints the league table over whatever
there is.
"""

import argparse
import json
import os
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from league import Network, league, league_page

import slimprune
from slimprune.comparison import make_grid, recorded_cells
from slimprune.recipe import read_recipe
from slimprune.report import comparison_document, comparison_markdown, draw_comparison, draw_layers

ROOT = Path(__file__).parents[1]
RECIPES, RESULTS = ROOT / "recipes" / "arena", ROOT / "benchmarks" / "results" / "arena"
NETWORKS = sorted(file.stem for file in RECIPES.glob("*.yaml"))
PRECISIONS = {"bfloat16": True, "float32": False}
"""Values of the field `amp`."""


def main() -> int:
    """Run the missing cells, then write and print the tables."""
    options = parsed()
    failures = [] if options.table else run(options)
    networks = [written(options, name, precision) for name in NETWORKS for precision in PRECISIONS]
    document = league([network for network in networks if network is not None], command())
    page = league_page(document)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "league.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.out / "league.md").write_text(page)
    print(page)
    print(*failures, sep="\n", file=sys.stderr)
    return int(bool(failures))


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--rows", type=listed, help="rows of the recipes, separated by commas (default: all)")
    parser.add_argument("--seeds", type=listed, help="seeds, separated by commas (default: those of the recipes)")
    parser.add_argument("--jobs", type=int, default=1, help="networks trained at once, each in a process of its own")
    parser.add_argument("--threads", type=int, help="threads of each job (default: cores / jobs)")
    parser.add_argument("--table", action="store_true", help="train nothing, only write and print the tables")
    parser.add_argument("--epochs", type=int, help="train for fewer epochs than the recipes, to try the arena out")
    parser.add_argument("--train-size", type=int, help="train on fewer images than the recipes, to try the arena out")
    parser.add_argument("--data", help="other data than the recipes', to try the arena out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    refuse_trials(parser, options, options.out)
    return options


def refuse_trials(parser: argparse.ArgumentParser, options: argparse.Namespace, folder: Path) -> None:
    """Refuse another recipe than the arena's for results in the folder of all results, or below it."""
    changed = any(value is not None for value in (options.epochs, options.train_size, options.data))
    if changed and folder.resolve().is_relative_to(RESULTS.parent):
        parser.error(f"expected --out outside {RESULTS.parent} for results of another recipe, got {options.out}")


def listed(text: str) -> list[str]:
    """Split a list that is separated by commas."""
    return [part.strip() for part in text.split(",")]


def command() -> str:
    """Return the command line of this run."""
    return shlex.join(["python", "benchmarks/arena.py", *sys.argv[1:]])


@dataclass(frozen=True)
class Task:
    """The cells of one network with one seed.

    Attributes:
        name: Name of the network's recipe.
        grid: Fields of the grid that holds these cells only.
        folder: Folder of the network's results.
        threads: Number of threads.
    """

    name: str
    grid: dict[str, Any]
    folder: Path
    threads: int


def run(options: argparse.Namespace) -> list[str]:
    """Train the missing cells; return one line for each failure."""
    tasks = [task for name in options.only for task in tasks_of(options, name)]
    if options.jobs == 1:
        return [line for task in tasks if (line := attempt(task))]
    failures = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(attempt, task) for task in tasks]):
            failures += filter(None, [future.result()])
    return failures


def tasks_of(options: argparse.Namespace, name: str) -> list[Task]:
    """Return the tasks of a network, one for each seed."""
    given = recipe_of(options, name)
    unknown = set(options.rows or ()) - given["rows"].keys()
    if unknown:
        raise SystemExit(f"expected rows of {name} ({', '.join(given['rows'])}), got {', '.join(sorted(unknown))}")
    rows = {row: fields for row, fields in given["rows"].items() if options.rows is None or row in options.rows}
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    return [
        Task(name, {**given, "rows": rows, "seeds": [seed]}, options.out / name, threads) for seed in given["seeds"]
    ]


def recipe_of(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return the fields of a network's grid with the changes that the command line asks for."""
    given = dict(read_recipe(RECIPES / f"{name}.yaml"))
    changes = {"epochs": options.epochs, "train_size": options.train_size, "data": options.data}
    given["base"] = {**given["base"], **{field: value for field, value in changes.items() if value is not None}}
    given["seeds"] = given["seeds"] if options.seeds is None else [int(seed) for seed in options.seeds]
    return given


def attempt(task: Task) -> str | None:
    """Train the missing cells of a task; return what went wrong, if anything did."""
    torch.set_num_threads(task.threads)
    (seed,) = task.grid["seeds"]
    own, shared = task.folder / ".work" / f"seed-{seed}", task.folder / "cells"
    for folder in (own, shared):
        folder.mkdir(parents=True, exist_ok=True)
    if not (own / "cells").exists():
        (own / "cells").symlink_to(shared.resolve(), target_is_directory=True)
    seen: set[int] = set()

    def tell(stage: str, done: int, total: int, note: str) -> None:
        if done not in seen and note:
            seen.add(done)
            print(f"{task.name}: {done} of {total} {note}", flush=True)

    try:
        slimprune.compare(task.grid, out=own, listener=tell)
    except slimprune.SlimpruneError as error:
        return f"{task.name}, seed {seed}: {error}"
    return None


def written(options: argparse.Namespace, name: str, precision: str) -> Network | None:
    """Write the comparison of a network as far as it was run, and return its records; None if there are none."""
    given, folder = recipe_of(options, name), options.out / name
    grid = make_grid({**given, "base": {**given["base"], "amp": PRECISIONS[precision]}})
    records = recorded_cells(grid, folder)
    if not records:
        return None
    document, own = comparison_document(grid.model_dump(mode="json"), records), folder / precision
    own.mkdir(exist_ok=True)
    (own / "compare.json").write_text(json.dumps(document, indent=1) + "\n")
    (own / "compare.md").write_text(comparison_markdown(document))
    draw_comparison(document, own / "compare")
    draw_layers(document, own / "layers")
    of = grid.row_cells(grid.budgets[0])[0].recipe.of
    return Network(name, grid.title, precision, of, list(grid.methods()), records)


if __name__ == "__main__":
    sys.exit(main())
