"""What a worker on another machine does for a comparison: plain data in, the record of a cell out."""

import os
import socket
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from typing_extensions import TypedDict

from slimprune import errors
from slimprune.comparison.cells import PlannedCell, RunCache, start_key
from slimprune.comparison.grid import Cell
from slimprune.errors import DataError, SlimpruneError, UsageError
from slimprune.files import CellPlace, CellRecord
from slimprune.measure import pinned_threads, versions
from slimprune.recipe import ResolvedRecipe
from slimprune.training import choose_device
from slimprune.types import ignore


class Outcome(TypedDict, total=False):
    """What a worker returns: the record of a cell, None of a dense network; or the kind and the message of an error."""

    record: CellRecord | None
    kind: str
    error: str


@dataclass(frozen=True)
class CellTask:
    """What a worker gets.

    Attributes:
        title: Name of the cell in messages.
        place: Place of the cell in the grid.
        recipe: Fields of its recipe.
        dense_only: Whether only the dense network is trained that this cell and others start from.
        folder: Folder to which the recipe's paths are relative.
        unfinished: Folder of unfinished work, which all workers share.
        threads: Number of threads.
        versions: Versions of everything on which results depend.
        named_files: SHA-256 of the files that the recipe names.
    """

    title: str
    place: CellPlace
    recipe: Mapping[str, Any]
    dense_only: bool
    folder: str
    unfinished: str
    threads: int
    versions: Mapping[str, str]
    named_files: str

    @property
    def cell(self) -> Cell:
        """The cell of the grid."""
        recipe = ResolvedRecipe.model_validate(self.recipe)
        return Cell(self.place["row"], self.place["kind"], self.place["budget"], recipe)


def task_of(cell: Cell, cache: RunCache, threads: int, *, dense_only: bool = False) -> CellTask:
    """Return the task of a cell for workers that see the files of this machine."""
    return CellTask(
        title=cell.title,
        place={"row": cell.row, "kind": cell.kind, "budget": cell.budget},
        recipe=cell.recipe.model_dump(mode="json"),
        dense_only=dense_only,
        folder=os.getcwd(),
        unfinished=str(cache.unfinished.resolve()),
        threads=threads,
        versions=versions(),
        named_files=cache.named_files(cell.recipe),
    )


def run_task(task: CellTask) -> Outcome:
    """Run a task in this process, from where an earlier worker left it; return errors that end the run as data."""
    try:
        _check_machine(task)
        with chdir(task.folder), pinned_threads(task.threads), torch.random.fork_rng(devices=[]):
            return {"record": _trained(task)}
    except SlimpruneError as error:
        return {"kind": type(error).__name__, "error": str(error)}


def record_of(outcome: Outcome) -> CellRecord | None:
    """Return the record that a worker made; raise its error in this process."""
    if "error" in outcome:
        raise getattr(errors, outcome["kind"], SlimpruneError)(outcome["error"])
    return outcome["record"]


def _check_machine(task: CellTask) -> None:
    """Check that this machine has the files and the versions of the one that sent the task."""
    here = socket.gethostname()
    for folder in (task.folder, task.unfinished):
        if not Path(folder).is_dir():
            raise DataError(f"expected {folder} on a disk that all machines share, got none on {here}")
    for name, found in versions().items():
        if found != task.versions[name]:
            raise UsageError(f"expected {name} {task.versions[name]} on all machines, got {found} on {here}")


def _trained(task: CellTask) -> CellRecord | None:
    """Train a cell, or the dense network it starts from.

    Locks keep two workers from the same files: one may still run that a driver started which has died since.
    """
    cell, unfinished = task.cell, Path(task.unfinished)
    cache = RunCache(unfinished, str(choose_device(cell.recipe.device)))
    if cache.named_files(cell.recipe) != task.named_files:
        here = socket.gethostname()
        raise DataError(f"expected the same code, weights and data on all machines, got others on {here}")
    with FileLock(unfinished / f"{cell.recipe.hash}{'-dense' * task.dense_only}.lock"):
        refusal = cache.refusal(cell)
        if refusal is None:
            with FileLock(unfinished / f"{start_key(cell)}.lock"):
                cache.train_dense(cell, ignore)
        if task.dense_only:
            return None
        planned = cache.plan(cell, ignore) if refusal is None else PlannedCell(refused=refusal)
        return cache.train(cell, planned, ignore)
