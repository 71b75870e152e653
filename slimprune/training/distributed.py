"""Support for several replicas of one model under torchrun: unwrapping, rank and sums over ranks."""

from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside a `DistributedDataParallel`, or the model itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def rank() -> int:
    """Return the rank of this process, 0 if there is only one; rank 0 alone writes files."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def sum_over_processes(counts: Tensor) -> Tensor:
    """Sum counts over all processes.

    A ratio of two such sums is correct whether every process saw its own share of the data or all saw all of it.
    """
    total = counts.clone()
    distributed.all_reduce(total)
    return total
