"""What the benchmarks of single ways to choose widths share: each on a network of the arena, beside uniform widths.

A benchmark has a function that chooses widths; here are its options, the trainings from scratch by the arena's recipe,
the records and the page. The uniform networks are those of the arena's records, where there are any.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import arena
import numpy as np
import torch
from rank_agreement import trained_at

from slimprune.budget import WidthSpace
from slimprune.comparison import make_grid, recorded_cells
from slimprune.files import write_atomically
from slimprune.graph.groups import Integers
from slimprune.measure import environment
from slimprune.pipeline.autocast import with_precision
from slimprune.pipeline.learned import space_of
from slimprune.pipeline.stages import Analysis, analyse
from slimprune.pipeline.workload import Workload, named_workload
from slimprune.recipe import ResolvedRecipe
from slimprune.report import markdown_table
from slimprune.report.paired_differences import paired_gap
from slimprune.training import evaluate
from slimprune.types import ignore

UNIFORM = "uniform"


@dataclass(frozen=True)
class Choice:
    """Widths that were chosen, and what is recorded about them.

    Attributes:
        widths: Widths at the budget, [G].
        facts: Anything that JSON can hold.
    """

    widths: Integers
    facts: Mapping[str, Any] = field(default_factory=dict)


Choose = Callable[[ResolvedRecipe, Analysis, WidthSpace], tuple[Mapping[str, Any], Mapping[str, Choice]]]
"""Function that returns facts on the whole seed and the choices by name, which may include `UNIFORM` for its facts."""


@dataclass(frozen=True)
class Column:
    """A column of the page for each way of choosing.

    Attributes:
        head: Its name.
        fact: Key of the fact that it shows.
        form: Format of the fact.
        of_uniform: Whether uniform widths have the fact as well.
    """

    head: str
    fact: str
    form: str = ""
    of_uniform: bool = False


@dataclass(frozen=True)
class Rival:
    """A way to choose widths, or several that share their work.

    Attributes:
        doc: Description of the command line.
        title: Title of the page.
        ways: Names of the choices.
        choose: Function that makes them.
        columns: Facts on the page.
        about: Function from the results of all seeds to sentences on what the columns mean.
        cap: Greatest width of a group as a multiple of its uniform width; None for that of `--rule learned`.
    """

    doc: str | None
    title: str
    ways: Sequence[str]
    choose: Choose
    columns: Sequence[Column]
    about: Callable[[Sequence[Mapping[str, Any]]], str]
    cap: float | None = None


def run(rival: Rival) -> None:
    """Run the seeds that are missing, then write the page."""
    options = parsed(rival)
    torch.set_num_threads(1)
    file = options.out.with_suffix(".json")
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for seed in options.seeds:
        if str(seed) not in found:
            found[str(seed)] = outcome_of(rival, options, seed)
            write_atomically(file, json.dumps(found, indent=1) + "\n")
    page = page_of(rival, options.network, found)
    write_atomically(options.out.with_suffix(".md"), page)
    print(page)


def parsed(rival: Rival) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=rival.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True, help="name of a recipe in recipes/arena")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without suffix")
    parser.add_argument("--epochs", type=int, help="train for fewer epochs than the recipe, to try this out")
    parser.add_argument("--train-size", type=int, help="train on fewer images than the recipe, to try this out")
    parser.add_argument("--data", help="other data than the recipe's, to try this out")
    options = parser.parse_args()
    arena.refuse_trials(parser, options, options.out.parent)
    return options


def outcome_of(rival: Rival, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Choose widths, train the networks of these and of uniform widths, and return all results of a seed."""
    recipe, known = recipe_of(options, seed)
    analysis = analyse(recipe, named_workload(recipe, "cpu"), ignore)
    space = space_of(recipe.model_copy(update={"width_cap": rival.cap or recipe.width_cap}), analysis)
    facts, choices = rival.choose(recipe, analysis, space)
    result: dict[str, Any] = {
        "precision": "bfloat16" if recipe.amp else "float32",
        "environment": environment(torch.device("cpu")),
        **facts,
    }
    for name, choice in {UNIFORM: Choice(space.uniform), **choices}.items():
        is_known = known is not None and np.array_equal(choice.widths, space.uniform)
        final = known["final"] if is_known else trained(recipe, analysis.work, space, choice.widths)
        cost = space.costs.cost(choice.widths)
        names = [group.id for group in space.groups]
        widths = dict(zip(names, map(int, choice.widths), strict=True))
        result[name] = {"final": final, "params": cost.params, "macs": cost.macs, "widths": widths, **choice.facts}
        print(f"seed {seed}, {name}: {100 * final:.2f} %", flush=True)
    return result


def trained(recipe: ResolvedRecipe, work: Workload, space: WidthSpace, widths: Integers) -> float:
    """Return the metric of the network of these widths, [G], after the recipe's training from scratch."""
    module, _ = trained_at(recipe, work, space.groups, widths, recipe.epochs)
    return evaluate(module, work.test_batches, work.metric, device="cpu", amp=bool(recipe.amp))


def recipe_of(options: argparse.Namespace, seed: int) -> tuple[ResolvedRecipe, Mapping[str, Any] | None]:
    """Return the recipe of the arena's row `learned`, and the record of uniform widths trained likewise, if any."""
    given = {**arena.recipe_of(options, options.network), "seeds": [seed]}
    grid = make_grid(given)
    learned = next(cell.recipe for cell in grid.row_cells(grid.budgets[0]) if cell.row == "learned")
    recipe, _ = with_precision(learned)
    grid = make_grid({**given, "base": {**given["base"], "amp": recipe.amp}})
    records = recorded_cells(grid, arena.RESULTS / options.network)
    return recipe, next((record for record in records if record["row"] == UNIFORM), None)


def page_of(rival: Rival, network: str, found: Mapping[str, Any]) -> str:
    """Return the results as a Markdown page."""
    finals = {way: {seed: 100 * one[way]["final"] for seed, one in found.items()} for way in (UNIFORM, *rival.ways)}
    of_uniform = [column for column in rival.columns if column.of_uniform]

    def cells(one: Mapping[str, Any], way: str) -> list[str]:
        shown = [format(one[way][column.fact], column.form) for column in rival.columns]
        return [f"{100 * one[way]['final']:.2f}", f"{one[way]['params'] / one[UNIFORM]['params']:.2f} x", *shown]

    lines = [
        [seed, f"{finals[UNIFORM][seed]:.2f}", *(format(one[UNIFORM][of.fact], of.form) for of in of_uniform),
         *(cell for way in rival.ways for cell in cells(one, way))]
        for seed, one in found.items()
    ]  # fmt: skip
    heads = ["seed", UNIFORM, *(column.head for column in of_uniform)]
    heads += [head for way in rival.ways for head in (f"by {way}", "params", *(one.head for one in rival.columns))]
    summary = []
    for way in rival.ways:
        gap = paired_gap(finals[way], finals[UNIFORM])
        assert gap is not None  # the same seeds
        summary.append([way, f"{gap.mean:+.2f}", gap.interval_text("+.2f")])
    first = next(iter(found.values()))
    widths = [
        [group, width, *(" / ".join(str(one[way]["widths"][group]) for one in found.values()) for way in rival.ways)]
        for group, width in first[UNIFORM]["widths"].items()
    ]
    parts = [
        f"# {rival.title}: {network}",
        f"`{shlex.join(['python', *sys.argv])}`",
        "\n".join(f"{key}: {value}  " for key, value in first["environment"].items()),
        f"Metric in percent after the last epoch, in {first['precision']}; all networks of a seed are trained alike "
        f"and cost the same by the budget; none has more parameters than the uniform one. "
        f"{rival.about(list(found.values()))}",
        markdown_table(heads, lines, left=(0,)),
        markdown_table(["chosen by", "difference to uniform", "95 % interval of pairs"], summary, left=(0,)),
        markdown_table(["group", "uniform width", *(f"widths by {way}" for way in rival.ways)], widths, left=(0,)),
    ]
    return "\n\n".join(parts) + "\n"
