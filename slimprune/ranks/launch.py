"""What a launcher such as torchrun tells a process by its environment."""

import os


def launched_ranks() -> int:
    """Return the number of processes that were launched together, 1 for a process that was started by itself."""
    known = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if known else 1


def launched_rank() -> int:
    """Return the number of this process among those launched together, from 0."""
    return int(os.environ["RANK"]) if launched_ranks() > 1 else 0


def local_rank() -> int:
    """Return the number of this process among those on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched_ranks() > 1 else 0
