"""What differs when torchrun trains several replicas of one model: unwrapping, who writes, and sums over ranks."""

from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside a `DistributedDataParallel`, or the model itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def rank() -> int:
    """This process's number, 0 where there is only one; rank 0 alone writes files."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def sum_over_replicas(model: nn.Module, counts: Tensor) -> Tensor:
    """Counts summed over all replicas of a wrapped model; a plain model's counts come back as they are.

    A ratio of two such sums is right both where every rank saw its own share of the data and where all saw all of it.
    """
    if not isinstance(model, DistributedDataParallel):
        return counts
    total = counts.clone()
    distributed.all_reduce(total)
    return total
