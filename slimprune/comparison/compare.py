"""The command `compare`: all methods at equal budgets, training and seeds, in one grid that can be resumed."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from slimprune.comparison.cells import RunCache
from slimprune.comparison.clusters import CellsOnCluster, OnCluster, find_cluster
from slimprune.comparison.grid import RANDOM, Cell, Grid, make_grid
from slimprune.comparison.progress import CellProgress
from slimprune.comparison.side_by_side import Finish, SideBySide
from slimprune.errors import UsageError, VerificationError
from slimprune.files import CellPlace, CellRecord, ComparisonDocument, read_document, write_atomically
from slimprune.pipeline.autocast import faster_in_bfloat16
from slimprune.pipeline.rounds import check_rounds
from slimprune.pipeline.stages import check_names, needs_scores
from slimprune.pipeline.staging import resumable_folder
from slimprune.pipeline.trust import check_trusted
from slimprune.recipe import read_recipe
from slimprune.report import (
    best_row,
    comparison_document,
    comparison_html,
    comparison_markdown,
    draw_comparison,
    draw_layers,
    scale_of_metric,
)
from slimprune.training import choose_device
from slimprune.types import AUTO, Listener, ignore

MOST_JOBS = 1024


def compare(
    recipe: str | Path | Mapping[str, Any],
    *,
    out: str | Path,
    jobs: int = 1,
    on: OnCluster | None = None,
    trust_code: bool = False,
    listener: Listener = ignore,
) -> ComparisonDocument:
    """Run the cells of a grid that have no result yet, and write the tables.

    Writes `compare.json`, `compare.md`, `compare.html`, `compare.svg` and `layers.svg`, both also as `.png`, and one
    `cells/HASH.json` per finished cell to `out`. Repeating the call resumes an interrupted one; a changed grid runs its
    new cells only.

    Args:
        recipe: YAML file of a grid, or its fields.
        out: Folder to fill.
        jobs: Number of networks trained at once, in threads of this process.
        on: Cluster that trains the networks instead of this process, all at once as far as it has room. Its machines
            need this package, and the files that the grid names and `out` under the same paths.
        trust_code: Whether a file may name code, such as `file.py:factory`; code in given fields is run.
        listener: Called with ("cells", done, total, current step) from any of the threads, never concurrently.

    Returns:
        The document `compare.json`.

    Raises:
        UsageError: If the grid is invalid, a network cannot be trained in parallel with others, the folder cannot
            be written to or is in use by another process, or the cluster cannot be used.
        SlimpruneError: If an error affects all cells. An error that affects one cell becomes a row that has no result
            and states the reason.
    """
    out = Path(out)
    grid = make_grid(recipe if isinstance(recipe, Mapping) else _read(Path(recipe), trust_code))
    for budget in grid.budgets:
        for cell in grid.row_cells(budget):
            check_names(cell.recipe)
            check_rounds(cell.recipe)
            if cell.recipe.distill is not None and cell.recipe.when != "trained":
                raise UsageError(f"expected weights of a trained network beside distill, got when: {cell.recipe.when}")
    _check_places(grid, jobs, on)
    grid, choice = _with_precision(grid)
    with resumable_folder(out) as unfinished, torch.random.fork_rng(devices=[]):
        progress = CellProgress(listener, _count(grid))
        cache = RunCache(unfinished, _device(grid) if on is None else "cpu", out / "cells")
        with _trainer(cache, jobs, on, progress) as trainer:
            run = _Run(out / "cells", cache, trainer, progress)
            if choice is not None:
                progress.tell(choice)
            if on is not None:
                rows = [cell for budget in grid.budgets for cell in grid.row_cells(budget)]
                run.run_ahead([*grid.dense_cells(), *rows])
            records = run.records(grid.dense_cells())
            for budget in grid.budgets:
                records += _table(grid, budget, run)
                document = comparison_document(grid.model_dump(mode="json"), records)
                _publish(document, out, draw=budget == grid.budgets[-1])
    return document


def _check_places(grid: Grid, jobs: int, on: OnCluster | None) -> None:
    """Check where cells are to be trained.

    Raises:
        UsageError: If that is nowhere, or both here and on a cluster.
    """
    if not 1 <= jobs <= MOST_JOBS:
        bound = f"least 1, got {jobs}" if jobs < 1 else f"most {MOST_JOBS}, got {jobs}"
        raise UsageError(f"expected jobs of at {bound}")
    if on is None:
        return
    if jobs > 1:
        raise UsageError(f"expected jobs or a cluster, got {jobs} jobs and {on.name}")
    if grid.base.get("amp") == AUTO:
        raise UsageError("expected amp as true or false on a cluster, whose machines are not measured here, got auto")
    on.check()


class _Trainer(Protocol):
    """What trains cells and calls `finish` with the record of each."""

    def train(self, cells: Sequence[Cell], finish: Finish) -> None: ...


@contextmanager
def _trainer(cache: RunCache, jobs: int, on: OnCluster | None, progress: CellProgress) -> Iterator[_Trainer]:
    """Yield what trains cells: this process, or a cluster, which is left afterwards."""
    if on is None:
        yield SideBySide(cache, jobs, progress)
        return
    with closing(find_cluster(on, cache.unfinished)) as cluster:
        yield CellsOnCluster(cluster, cache, on.threads, progress)


def _read(file: Path, trust_code: bool) -> dict[str, object]:
    fields = read_recipe(file)
    check_trusted(fields, f"grid {file}", trust_code=trust_code)
    return fields


def _with_precision(grid: Grid) -> tuple[Grid, str | None]:
    """Return the grid with `amp` decided, so that no two cells differ in it, and a sentence if it was left open."""
    if grid.base.get("amp") != AUTO:
        return grid, None
    chosen, reason = faster_in_bfloat16(grid.base.get("device", AUTO))
    return grid.model_copy(update={"base": {**grid.base, "amp": chosen}}), reason


def recorded_cells(grid: Grid, folder: Path) -> list[CellRecord]:
    """Return the records of those rows' cells of a grid that were trained, from `folder`/cells, in the grid's order.

    Raises:
        UsageError: If a file is damaged.
    """
    cells = [cell for budget in grid.budgets for cell in grid.row_cells(budget)]
    files = [(cell, folder / "cells" / f"{cell.recipe.hash}.json") for cell in cells]
    return [{**_record(file), **_place(cell)} for cell, file in files if file.exists()]


def _table(grid: Grid, budget: str, run: "_Run") -> list[CellRecord]:
    """Return the records at one budget: those of the rows, then those of the winner's baselines and of the twins."""
    cells = grid.row_cells(budget)
    records = run.records(cells)
    winner = best_row(records)
    winners = [cell for cell in cells if cell.row == winner]
    best = [record for record in records if record["row"] == winner]
    followers = grid.uniform_cells(winners, [record["kept"] for record in best])
    controlled = [
        (cell, record["rule"])
        for cell, record in zip(cells, records, strict=True)
        if cell.row == winner or (grid.twins == "all" and "refused" not in record)
    ]
    followers += grid.control_cells([cell for cell, _ in controlled], [rule for _, rule in controlled])
    run.progress.drop(grid.most_followers() - len(followers))
    return records + run.records(followers)


@dataclass(frozen=True, eq=False)
class _Run:
    """One run over a grid."""

    folder: Path
    cache: RunCache
    trainer: _Trainer
    progress: CellProgress
    ahead: Counter[str] = field(default_factory=Counter)

    def records(self, cells: Sequence[Cell]) -> list[CellRecord]:
        """Return the records of cells; run those that have none yet, equal recipes only once."""
        places = Counter(cell.recipe.hash for cell in cells)
        different = {cell.recipe.hash: cell for cell in cells}
        known = {key: self._read(cell) for key, cell in different.items() if self._file(cell).exists()}
        pending = {key: cell for key, cell in different.items() if key not in known}
        self.progress.add(sum(places[key] - self.ahead.pop(key, 0) for key in known))
        self.trainer.train(list(pending.values()), partial(self._finish, places))
        known |= {key: self._read(cell) for key, cell in pending.items()}
        return [{**known[cell.recipe.hash], **_place(cell)} for cell in cells]

    def run_ahead(self, cells: Sequence[Cell]) -> None:
        """Run cells whose records are asked for later, so that none of them waits for another."""
        self.records(cells)
        self.ahead.update(cell.recipe.hash for cell in cells)

    def _finish(self, places: Mapping[str, int], cell: Cell, record: CellRecord) -> None:
        self.folder.mkdir(exist_ok=True)
        write_atomically(self._file(cell), json.dumps(record, indent=1) + "\n")
        self.cache.clear(cell)
        result = record.get("refused") or _result(record)
        self.progress.add(places[cell.recipe.hash], f"{cell.title}: {result}")

    def _read(self, cell: Cell) -> CellRecord:
        file = self._file(cell)
        record = _record(file)
        if record.get("named_files") not in (None, self.cache.named_files(cell.recipe)):
            raise UsageError(
                f"{cell.title}: the code, weights or data that the grid names are not those that {file} was made "
                "from: choose another folder"
            )
        return record

    def _file(self, cell: Cell) -> Path:
        return self.folder / f"{cell.recipe.hash}.json"


def _record(file: Path) -> CellRecord:
    try:
        return read_document(CellRecord, file.read_bytes(), f"the record of a cell, {file},")
    except (OSError, VerificationError) as error:
        raise UsageError(f"{error}; remove it to go on") from error


def _count(grid: Grid) -> int:
    rows = len(grid.methods()) * len(grid.seeds) + grid.most_followers()
    return len(grid.dense_cells()) + len(grid.budgets) * rows


def _device(grid: Grid) -> str:
    return str(choose_device(grid.base.get("device", "auto")))


def _place(cell: Cell) -> CellPlace:
    """Return a record's current place in the grid, whatever its row was called before, and whether it may win."""
    recipe = cell.recipe
    scored = cell.kind == "row" and needs_scores(recipe) and recipe.criterion != RANDOM
    may_win = scored and recipe.when == "before-training" and recipe.twin is None
    return {"row": cell.row, "kind": cell.kind, "budget": cell.budget, "may_win": may_win}


def _publish(document: ComparisonDocument, out: Path, *, draw: bool) -> None:
    """Write the tables and, if `draw`, the plots and the page, unless these exist and nothing has changed."""
    text, file = json.dumps(document, indent=1) + "\n", out / "compare.json"
    same = file.exists() and file.read_text() == text
    write_atomically(out / "compare.md", comparison_markdown(document))
    write_atomically(file, text)
    if draw and not (same and all((out / f"compare.{suffix}").exists() for suffix in ("svg", "png", "html"))):
        draw_comparison(document, out / "compare")
        draw_layers(document, out / "layers")
        write_atomically(out / "compare.html", comparison_html(document))


def _result(record: CellRecord) -> str:
    return f"{record['metric']} {scale_of_metric(record).shown(record['final'])}"
