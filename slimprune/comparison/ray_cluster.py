"""Cells as tasks of Ray."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from slimprune.comparison.clusters import RETRIES, Ended, OnCluster
from slimprune.comparison.remote_cells import CellTask, Outcome, run_task
from slimprune.errors import SlimpruneError, UsageError, first_line, kind_and_line

CONNECTING, ANSWERING = 5, 15
"""Seconds after which an address that is not connected to, or where no Ray answers, counts as unreachable."""


class RayCluster:
    """A Ray cluster; that of a process which is connected to one already, or one that is connected to here."""

    def __init__(self, on: OnCluster, unfinished: Path) -> None:
        self._on = on
        self._connected_here = False

    def ended(self, tasks: Sequence[CellTask]) -> Ended:
        """Run tasks; yield the number and the outcome of each as it ends."""
        self._connect()
        run = ray.remote(run_task)
        resources = {"num_cpus": self._on.cpus, "num_gpus": self._on.gpus, "max_retries": RETRIES}
        sent = [run.options(**resources, name=task.title).remote(task) for task in tasks]
        # Futures, since ray.wait turns the exception of a signal's handler into another one.
        futures = {reference.future(): number for number, reference in enumerate(sent)}
        try:
            for future in as_completed(futures):
                yield futures[future], _outcome(future, tasks[futures[future]])
        finally:
            for reference, future in zip(sent, futures, strict=True):
                if not future.done():
                    ray.cancel(reference, force=True)

    def close(self) -> None:
        """Disconnect, which ends what runs, unless the caller was connected before."""
        if self._connected_here:
            ray.shutdown()
            self._connected_here = False

    def _connect(self) -> None:
        if not ray.is_initialized():
            address = self._on.address or os.environ.get("RAY_ADDRESS")
            if address not in (None, "auto", "local"):
                _check_reachable(address)
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            with _same_signals():
                self._connected_here = True
                _initialise(address)
        _check_room(self._on)


CLUSTER = RayCluster


def _initialise(address: str | None) -> None:
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    except (RayError, RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"cannot connect to Ray at {address or 'this machine'}: {first_line(error)}") from error


def _check_reachable(address: str) -> None:
    """Check that Ray answers at an address, since Ray itself would try for minutes.

    Raises:
        UsageError: If it does not.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UsageError(f"expected a Ray address as HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECTING).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot reach Ray at {address}: {first_line(error)}") from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        subprocess.run(command, capture_output=True, timeout=ANSWERING, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        raise UsageError(f"cannot reach Ray at {address}: no Ray answers there") from error


def _check_room(on: OnCluster) -> None:
    """Check that a machine of the cluster has room for a cell, which otherwise would wait for ever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(each.get("CPU", 0) >= on.cpus and each.get("GPU", 0) >= on.gpus for each in machines):
        found = "; ".join(f"{each.get('CPU', 0):g} and {each.get('GPU', 0):g}" for each in machines)
        raise UsageError(f"expected a machine of {on.cpus:g} CPUs and {on.gpus:g} GPUs in the Ray cluster, got {found}")


def _outcome(ended: "Future[Outcome]", task: CellTask) -> Outcome:
    try:
        return ended.result()
    except RayTaskError as error:
        raise SlimpruneError(f"{task.title}: {kind_and_line(error.cause)}") from error
    except (WorkerCrashedError, OutOfMemoryError) as error:
        raise SlimpruneError(
            f"{task.title}: expected a worker that finishes, got {RETRIES + 1} that died ({first_line(error)})"
        ) from error
    except RayError as error:
        raise SlimpruneError(f"{task.title}: {kind_and_line(error)}") from error


@contextmanager
def _same_signals() -> Iterator[None]:
    """Restore the handlers of signals, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
