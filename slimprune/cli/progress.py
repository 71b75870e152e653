"""Progress of a run: bars on a terminal, lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from slimprune.errors import visible
from slimprune.types import REMARK, Listener, ignore


def listening(quiet: bool, *, cells: bool = False) -> AbstractContextManager[Listener]:
    """Return a context with a listener that shows nothing, every stage, or every cell of a comparison."""
    if quiet:
        return nullcontext(ignore)
    if sys.stderr.isatty():
        return _plain(_bar_of_cells() if cells else _bars())
    return _plain(_lines_of_cells() if cells else _lines())


@contextmanager
def _plain(context: AbstractContextManager[Listener]) -> Iterator[Listener]:
    """Yield the listener of a context, in whose stages and notes names have no power over the terminal."""
    with context as listener:

        def update(stage: str, done: int, total: int, note: str) -> None:
            listener(visible(stage), done, total, visible(note))

        yield update


def _text(form: str) -> TextColumn:
    return TextColumn(form, markup=False)  # brackets in a name are no style


@contextmanager
def _bars() -> Iterator[Listener]:
    """Yield a listener that shows one bar per stage."""
    columns = (_text("{task.description:>11}"), BarColumn(20), _text("{task.percentage:>3.0f} %"))
    times = (TimeElapsedColumn(), TimeRemainingColumn(), _text("{task.fields[note]}"))
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, *times, console=Console(stderr=True)) as progress:

        def update(stage: str, done: int, total: int, note: str) -> None:
            if stage == REMARK:
                progress.console.print(f"note: {note}", markup=False, highlight=False)
                return
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total, note=note)
            progress.update(tasks[stage], completed=done, total=total, note=note)

        yield update


@contextmanager
def _lines() -> Iterator[Listener]:
    """Yield a listener that prints one line per finished stage, for logs, where bars would be unreadable."""
    begun: dict[str, float] = {}

    def update(stage: str, done: int, total: int, note: str) -> None:
        started = begun.setdefault(stage, time.perf_counter())
        if stage == REMARK:
            print(f"note: {note}", file=sys.stderr)
        elif done == total:
            print(f"{stage}: {note + ', ' if note else ''}{time.perf_counter() - started:.1f} s", file=sys.stderr)

    yield update


@contextmanager
def _bar_of_cells() -> Iterator[Listener]:
    """Yield a listener that shows one bar for all cells of a comparison, with the current step."""
    columns = (BarColumn(20), _text("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, _text("{task.description}"), console=Console(stderr=True)) as progress:
        bar = progress.add_task("")

        def update(stage: str, done: int, total: int, note: str) -> None:
            progress.update(bar, completed=done, total=total, description=note)

        yield update


@contextmanager
def _lines_of_cells() -> Iterator[Listener]:
    """Yield a listener that prints one line per finished cell."""
    began, known = time.perf_counter(), 0

    def update(stage: str, done: int, total: int, note: str) -> None:
        nonlocal known
        if done > known and note:
            print(f"cell {done}/{total}: {note}, {time.perf_counter() - began:.1f} s", file=sys.stderr)
        known = done

    yield update
