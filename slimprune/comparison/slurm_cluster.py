"""Cells as members of array jobs of Slurm, submitted by submitit."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
from submitit.helpers import Checkpointable

from slimprune.comparison.clusters import RETRIES, Ended, OnCluster
from slimprune.comparison.remote_cells import CellTask, Outcome, run_task
from slimprune.errors import SlimpruneError, UsageError, first_line

EXECUTOR = "slurm"
"""Name of submitit's executor."""
MINUTES, POLLING = 60, 1.0
"""Time limit of a job in minutes, and the pause between two looks at the results in seconds."""


class _Requeued(Checkpointable):
    """`run_task`, which Slurm may stop and start again: it goes on from the checkpoint of its last epoch."""

    def __call__(self, task: CellTask) -> Outcome:
        return run_task(task)


class SlurmCluster:
    """The Slurm cluster on one of whose machines this process runs."""

    def __init__(self, on: OnCluster, unfinished: Path) -> None:
        self._on = on
        self._folder = unfinished / "slurm"
        self._executor: submitit.AutoExecutor | None = None

    def ended(self, tasks: Sequence[CellTask]) -> Ended:
        """Run tasks; yield the number and the outcome of each as it ends."""
        left = dict(zip(self._submit(tasks), range(len(tasks)), strict=True))
        deaths: Counter[int] = Counter()
        try:
            while left:
                for job in [job for job in left if job.done()]:
                    number = left.pop(job)
                    outcome = _outcome(job, tasks[number])
                    if outcome is not None:
                        yield number, outcome
                        continue
                    deaths[number] += 1
                    if deaths[number] > RETRIES:
                        died = f"expected a job that finishes, got {RETRIES + 1} that died ({_last_words(job)})"
                        raise SlimpruneError(f"{tasks[number].title}: {died}")
                    left[self._submit([tasks[number]])[0]] = number
                time.sleep(POLLING)
        finally:
            for job in left:
                job.cancel(check=False)

    def close(self) -> None:
        """Do nothing, since there is no connection."""

    def _submit(self, tasks: Sequence[CellTask]) -> list[submitit.Job[Outcome]]:
        """Submit tasks as one array job."""
        try:
            if self._executor is None:
                self._executor = self._connected()
            with redirect_stderr(StringIO()):  # submitit prints the error that it raises
                return list(self._executor.map_array(_Requeued(), tasks))  # type: ignore[no-untyped-call]
        except (RuntimeError, OSError, FailedJobError, FailedSubmissionError) as error:
            raise UsageError(f"cannot submit to Slurm: {first_line(error)}") from error

    def _connected(self) -> submitit.AutoExecutor:
        _cancel_former(self._folder)
        executor = submitit.AutoExecutor(self._folder, cluster=EXECUTOR)
        given: dict[str, Any] = {} if self._on.partition is None else {"slurm_partition": self._on.partition}
        if self._on.gpus:
            given["gpus_per_node"] = int(self._on.gpus)
        executor.update_parameters(
            name="slimprune",
            timeout_min=MINUTES if self._on.minutes is None else self._on.minutes,
            cpus_per_task=int(self._on.cpus),
            **given,
        )
        return executor


CLUSTER = SlurmCluster


def _cancel_former(folder: Path) -> None:
    """Cancel the jobs of a driver that died; the same cells are submitted again and go on from their checkpoints."""
    for job in {file.name.split("_")[0] for file in folder.glob("*_submitted.pkl")} if EXECUTOR == "slurm" else ():
        submitit.SlurmJob(folder, job).cancel(check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _last_words(job: submitit.Job[Outcome]) -> str:
    """Return the last line that a job wrote to stderr, since the folder of its log may not stay."""
    return next((line for line in reversed((job.stderr() or "").splitlines()) if line.strip()), "without a word")


def _outcome(job: submitit.Job[Outcome], task: CellTask) -> Outcome | None:
    """Return the outcome of a job that has ended, None if it died without one."""
    try:
        return job.result()
    except FailedJobError as error:
        trace = [line for line in str(error).split("-" * 22)[1].splitlines() if line]
        raise SlimpruneError(f"{task.title}: {trace[-1]}") from error
    except UncompletedJobError:
        return None
