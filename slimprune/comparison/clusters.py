"""Cells trained on other machines: how a cluster is named, what each can do, and which tasks it gets."""

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from slimprune.comparison.cells import RunCache, start_key, trains_a_start
from slimprune.comparison.grid import Cell
from slimprune.comparison.progress import CellProgress
from slimprune.comparison.remote_cells import CellTask, Outcome, record_of, task_of
from slimprune.errors import SlimpruneError, UsageError
from slimprune.files import CellRecord

RETRIES = 3
"""How often a task is started again whose worker has died."""
_NAME = re.compile(r"ray(:[\w.-]+:\d+)?|slurm")
_PACKAGES = {"ray": "ray", "slurm": "submitit"}
MOST_MINUTES = 365 * 24 * 60


@dataclass(frozen=True)
class OnCluster:
    """Where the cells of a comparison are trained, and what each of them gets.

    Attributes:
        name: `ray` for the cluster that Ray finds (`RAY_ADDRESS`, or one on this machine) or else starts on this
            machine; `ray:HOST:PORT` for the one with that head; `slurm` for the one to which `sbatch` submits.
        cpus: CPU cores of a cell, which are its number of threads; on Ray also a part of one.
        gpus: GPUs of a cell; on Ray also a part of one.
        minutes: Time limit of a cell on Slurm (default: 60); one that needs longer is submitted again three times.
        partition: Partition of Slurm.
    """

    name: str
    cpus: float = 1
    gpus: float = 0
    minutes: int | None = None
    partition: str | None = None

    @property
    def engine(self) -> str:
        """What runs the tasks: `ray` or `slurm`."""
        return self.name.partition(":")[0]

    @property
    def address(self) -> str | None:
        """Address of a Ray cluster; None if none is given."""
        return self.name.partition(":")[2] or None

    @property
    def threads(self) -> int:
        """Number of threads of a cell."""
        return max(1, int(self.cpus))

    def check(self) -> None:
        """Check what can be checked without the cluster.

        Raises:
            UsageError: If the name or an amount is invalid, an option is without effect, or a package is missing.
        """
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"expected --on as ray, ray:HOST:PORT or slurm, got {self.name!r}")
        self._check_amounts()
        if self.engine == "ray" and (self.minutes, self.partition) != (None, None):
            raise UsageError("expected a time limit and a partition for slurm alone, got them for ray")
        package = _PACKAGES[self.engine]
        if find_spec(package) is None:
            told = f"expected the package {package} for --on {self.engine} (pip install 'slimprune[{self.engine}]')"
            raise UsageError(f"{told}, got none")

    def _check_amounts(self) -> None:
        if not 0 < self.cpus < float("inf"):
            raise UsageError(f"expected more than 0 CPUs per cell, got {self.cpus:g}")
        if not 0 <= self.gpus < float("inf"):
            raise UsageError(f"expected 0 or more GPUs per cell, got {self.gpus:g}")
        for what, amount in (("CPUs", self.cpus), ("GPUs", self.gpus)):
            if amount != int(amount) and (self.engine == "slurm" or amount > 1):
                whole = "a whole number" if self.engine == "slurm" else "a whole number or a part of one"
                raise UsageError(f"expected {whole} of {what} per cell on {self.engine}, got {amount:g}")
        if self.minutes is not None and not 1 <= self.minutes <= MOST_MINUTES:
            raise UsageError(f"expected 1 to {MOST_MINUTES} minutes per cell, got {self.minutes}")


Ended = Generator[tuple[int, Outcome], None, None]
"""Numbers and outcomes of tasks, in the order in which they end."""


class Cluster(Protocol):
    """Machines that run tasks; they are connected to when the first task is there."""

    def ended(self, tasks: Sequence[CellTask]) -> Ended:
        """Run tasks; yield the number and the outcome of each as it ends.

        A task whose worker dies is started again, up to `RETRIES` times. Closing the iterator stops all that are left.

        Raises:
            UsageError: If the cluster cannot be reached or can never run such a task.
            SlimpruneError: If the workers of a task die again and again, or fail in an unforeseen way.
        """

    def close(self) -> None:
        """Leave the cluster."""


def find_cluster(on: OnCluster, unfinished: Path) -> Cluster:
    """Return the cluster that is named, without connecting to it.

    Args:
        on: Its name and what each cell gets.
        unfinished: Folder of unfinished work.
    """
    module = import_module(f"slimprune.comparison.{on.engine}_cluster")
    cluster: Callable[[OnCluster, Path], Cluster] = module.CLUSTER
    return cluster(on, unfinished)


@dataclass(frozen=True, eq=False)
class CellsOnCluster:
    """Trains cells on a cluster.

    Attributes:
        cluster: The cluster.
        cache: What knows the files that recipes name and the folder of unfinished work.
        threads: Number of threads of a cell.
        progress: What hears of every task.
    """

    cluster: Cluster
    cache: RunCache
    threads: int
    progress: CellProgress

    def train(self, cells: Sequence[Cell], finish: Callable[[Cell, CellRecord], None]) -> None:
        """Train the dense networks that several cells start from, then the cells, all at once as far as there is room.

        `finish` is called with every record as it comes.
        """
        if not cells:
            return
        places = Counter(map(start_key, cells))
        shared = {start_key(cell): cell for cell in cells if trains_a_start(cell) and places[start_key(cell)] > 1}
        for _ in self._records(list(shared.values()), dense_only=True):
            pass
        for cell, record in self._records(cells):
            if record is None:
                raise SlimpruneError(f"{cell.title}: expected a record, got none")
            finish(cell, record)

    def _records(self, cells: Sequence[Cell], dense_only: bool = False) -> Iterator[tuple[Cell, CellRecord | None]]:
        if not cells:
            return
        tasks = [task_of(cell, self.cache, self.threads, dense_only=dense_only) for cell in cells]
        self.progress.tell(f"{len(tasks)} tasks submitted")
        with closing(self.cluster.ended(tasks)) as ended:
            for number, outcome in ended:
                yield cells[number], record_of(outcome)
