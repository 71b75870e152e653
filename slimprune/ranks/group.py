"""The group of processes ("ranks") that share one run: joining it, and what its members tell each other.

Only tensors and bytes travel, no pickled objects. Every function returns at once in a process that runs alone.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from slimprune.errors import SlimpruneError, UsageError, first_line
from slimprune.ranks.launch import launched_rank, launched_ranks, local_rank

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others, for instance while the first one measures and exports alone."""

_FAILED = "slimprune/failed"


class LostRankError(SlimpruneError):
    """A rank that ended before its work was done; the others cannot go on without it."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of a run.

    Attributes:
        index: Number of this process, from 0. The first one writes the files and speaks to the user.
        count: Number of processes.
    """

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the first one."""
        return self.index == 0

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return self.count > 1

    def rows(self, batch: Tensor) -> Tensor:
        """Return this rank's rows of a batch [N, ...] that all ranks divide equally; N is a multiple of `count`.

        A rank that is alone has all of it, scalars included.
        """
        return batch.chunk(self.count)[self.index] if self.several else batch


ALONE = Ranks()

UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Environment variable by which torchrun is known."""


RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""Environment variable that counts how often torchrun has started the processes anew."""


class _State:
    """What this process knows of its group.

    Attributes:
        ranks: Ranks of the group that was joined; `ALONE` outside of `process_group`.
        speaks: Whether this process tells the user of its error; None until it has failed in a group.
    """

    ranks: Ranks = ALONE
    speaks: bool | None = None


def joined() -> Ranks:
    """Return the ranks of the group in whose `process_group` the caller is, `ALONE` if it is in none."""
    return _State.ranks


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Let the processes that were launched together share the work in this context; all have to enter it.

    What `compress` and `plan` do in it is divided among them. If it ends with an error in one of them, the others end
    with a `LostRankError`, and one of all speaks: the first that failed; see `speaks`. A process that was started by
    itself works alone.

    Raises:
        LostRankError: If the others do not come.
    """
    if joined().several or launched_ranks() == 1:
        yield joined()
        return
    try:
        found, rank, count = next(iter(rendezvous("env://", timeout=PATIENCE)))
        # torchrun keeps the store when it starts all processes anew; the addresses of the former ones are void.
        store = PrefixStore(f"attempt {os.environ.get(RESTARTS, 0)}", found)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise LostRankError(f"expected {launched_ranks()} processes to meet, got {_without_place(error)}") from error
    _State.ranks = Ranks(rank, count)
    if UNDER_TORCHRUN in os.environ:
        Thread(target=_end_with_launcher, args=(os.getppid(),), daemon=True).start()
    try:
        yield joined()
    except BaseException as error:
        _State.speaks = _is_first_to_fail(store, rank, error)
        raise
    finally:
        _State.ranks = ALONE
        distributed.destroy_process_group()


def speaks() -> bool:
    """Return whether this process tells the user of its error: one of all ranks does."""
    return launched_rank() == 0 if _State.speaks is None else _State.speaks


def place_of(device: torch.device) -> torch.device:
    """Return the device of this rank, given that of the run: of several CUDA devices, each rank takes its own.

    Raises:
        UsageError: If there are fewer devices than ranks on this machine.
    """
    if device.type != "cuda" or not joined().several:
        return device
    seen = torch.cuda.device_count()
    if local_rank() >= seen:
        raise UsageError(f"expected a CUDA device for each process of a machine, got {seen} for process {local_rank()}")
    own = torch.device("cuda", local_rank())
    torch.cuda.set_device(own)
    return own


def summed(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, equal to the last bit on each of them."""
    if not joined().several:
        return tensor
    total = tensor.clone(memory_format=torch.contiguous_format)
    with _others_needed():
        distributed.all_reduce(total)
    return total


def from_first(make: Callable[[], bytes]) -> bytes:
    """Return what the first rank makes; the others wait for it."""
    ranks = joined()
    if not ranks.several:
        return make()
    data = make() if ranks.first else b""
    with _others_needed():
        size = torch.tensor([len(data)])
        distributed.broadcast(size, 0)
        told = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        content = told if ranks.first else torch.empty(int(size), dtype=torch.uint8)
        if len(content):
            distributed.broadcast(content, 0)
    return data if ranks.first else content.numpy().tobytes()


def copy_from_first(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors by those of the first rank, which have the same shapes and dtypes."""
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(from_rank(tensor.detach(), 0))


def check_equal(values: Mapping[str, Any]) -> None:
    """Check that all ranks have the same values, which JSON can tell.

    Args:
        values: What each of them is -> the value of this rank.

    Raises:
        UsageError: If one differs from that of the first rank.
    """
    of_first = json.loads(from_first(lambda: json.dumps(values).encode()))
    for what, value in values.items():
        if value != of_first[what]:
            raise UsageError(f"expected the same {what} in every process, got {value!r} beside {of_first[what]!r}")
    wait_for_all()


def from_rank(tensor: Tensor, source: int) -> Tensor:
    """Return the tensor of one rank; those of the others have its shape and dtype, and any values."""
    if not joined().several:
        return tensor
    sent = tensor.clone(memory_format=torch.contiguous_format)
    with _others_needed():
        distributed.broadcast(sent, source)
    return sent


def wait_for_all() -> None:
    """Wait until every rank has come here."""
    if joined().several:
        summed(torch.zeros(1))


def copy_folder(folder: Path, *, leave_out: Sequence[str] = ()) -> None:
    """Give the other ranks, whose folder is empty, the files of the first rank's folder.

    Args:
        folder: Folder of this rank.
        leave_out: Names of files that are not copied.
    """
    ranks = joined()
    if not ranks.several:
        return
    own = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in leave_out)
    names = json.loads(from_first(lambda: json.dumps([path.relative_to(folder).as_posix() for path in own]).encode()))
    for name in names:
        content = from_first((folder / name).read_bytes)
        if not ranks.first:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


@contextmanager
def _others_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(
            f"expected {joined().count} processes to the end, got one that ended early ({_without_place(error)})"
        ) from error


def _without_place(error: Exception) -> str:
    """Return the first line of an error of torch, without the line of its source."""
    return re.sub(r"^\[[^]]*:\d+\] ", "", first_line(error))


def _end_with_launcher(launcher: int) -> None:
    """Send this process SIGTERM once its launcher is gone, which cannot do so itself if it was killed."""
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_first_to_fail(store: Any, rank: int, error: BaseException) -> bool:
    """Return whether this rank tells of its error; an interruption reaches all ranks, and the first one tells of it."""
    if isinstance(error, KeyboardInterrupt):
        return rank == 0
    try:
        return bool(store.compare_set(_FAILED, "", str(rank)) == str(rank).encode())
    except RuntimeError:  # the launcher is gone
        return rank == 0
