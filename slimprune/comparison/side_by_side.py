"""Cells trained in this process, several of them in threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from slimprune.comparison.cells import PlannedCell, RunCache, private_stream, start_key
from slimprune.comparison.grid import Cell
from slimprune.comparison.progress import CellProgress
from slimprune.errors import UsageError
from slimprune.files import CellRecord
from slimprune.types import Listener

Job = Callable[[], None]
Finish = Callable[[Cell, CellRecord], None]
"""What is done with the record of a cell; called from any thread."""


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Trains cells in threads of this process.

    Attributes:
        cache: What the cells share.
        jobs: Number of networks trained at once.
        progress: What hears of every step.
    """

    cache: RunCache
    jobs: int
    progress: CellProgress
    stop: Event = field(default_factory=Event)

    def train(self, cells: Sequence[Cell], finish: Finish) -> None:
        """Train the networks that cells start from in parallel, plan the cells one by one, train them in parallel."""
        refusals = [self.cache.refusal(cell) for cell in cells]
        for cell in cells if self.jobs > 1 else ():
            if self.cache.draws_at_random(cell):
                raise UsageError(
                    f"expected jobs of 1 for {cell.recipe.arch}, which draws random numbers in training (as dropout "
                    f"does): networks trained side by side would share them, got {self.jobs}"
                )
        possible = [cell for cell, refusal in zip(cells, refusals, strict=True) if refusal is None]
        starts = {start_key(cell): cell for cell in possible}
        self._run([partial(self._start, cell) for cell in starts.values()])
        plans = [
            self.cache.plan(cell, self._listener(cell)) if refusal is None else PlannedCell(refused=refusal)
            for cell, refusal in zip(cells, refusals, strict=True)
        ]
        self._run([partial(self._train, *cell, finish) for cell in zip(cells, plans, strict=True)])

    def _start(self, cell: Cell) -> None:
        self.cache.train_dense(cell, self._listener(cell))

    def _train(self, cell: Cell, planned: PlannedCell, finish: Finish) -> None:
        finish(cell, self.cache.train(cell, planned, self._listener(cell)))

    def _run(self, jobs: Sequence[Job]) -> None:
        """Run jobs in threads; the first failure or an interruption stops the others at their next step."""
        if self.jobs == 1 or len(jobs) < 2:
            for job in jobs:
                job()
            return
        with ThreadPoolExecutor(self.jobs) as threads:
            futures = [threads.submit(self._on_stream, job) for job in jobs]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _on_stream(self, job: Job) -> None:
        with private_stream(self.cache.device):
            job()

    def _listener(self, cell: Cell) -> Listener:
        def tell(stage: str, done: int, total: int, note: str) -> None:
            if self.stop.is_set():
                raise _StoppedError
            self.progress.tell(f"{cell.title}: {note if stage.startswith('train') else stage}")

        return tell


class _StoppedError(Exception):
    """Internal signal that stops a thread after another cell failed or the run was interrupted."""
