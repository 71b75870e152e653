"""Operators that join several positions: a channel goes through where they join positions of one channel only."""

from collections.abc import Sequence

import torch
from torch import Tensor

from slimprune.graph.channel_ids import FIRST_PLACE, compressed, core, varying
from slimprune.graph.propagation import Flow, OperatorCall


def reduce(flow: Flow, call: OperatorCall) -> None:
    """Sums, means, norms and extremes over some dimensions, or over all."""
    values = call["self"]
    if flow.source(values) is not None:
        return  # what is computed from a parameter alone is not a channel
    dims = _dims(call["dim"], values.ndim)
    _unite_branches(flow, values, dims)
    ids = joined(flow, flow.ids(values), dims, call.where)
    for out in call.outputs:
        flow.set_ids(out, ids if call["keepdim"] else _without(ids, dims))


def along(flow: Flow, call: OperatorCall) -> None:
    """Softmax, sorting and running sums along one dimension; the shape stays."""
    values = call["self"]
    dims = _dims(call["dim"], values.ndim)
    _unite_branches(flow, values, dims)
    ids = joined(flow, flow.ids(values), dims, call.where)
    for out in call.outputs:
        flow.set_ids(out, ids)


def _unite_branches(flow: Flow, values: Tensor, dims: Sequence[int]) -> None:
    """Where branches or parts are joined, what meets in one channel of the output lives and dies together."""
    ids = flow.ids(values)
    if varying(ids) - set(dims):
        flow.channel_ids.unite(ids, core(ids).amax(tuple(dims), keepdim=True))


def window(rank: int) -> "_Window":
    """Pooling and resampling over the last `rank` dimensions."""
    return _Window(rank)


class _Window:
    """Pooling and resampling over positions; channels go through."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def __call__(self, flow: Flow, call: OperatorCall) -> None:
        values = call.tensors[0]
        dims = tuple(range(values.ndim - self._rank, values.ndim))
        ids = joined(flow, flow.ids(values), dims, call.where)
        for out in call.outputs:
            flow.set_ids(out, ids)


def sample(flow: Flow, call: OperatorCall) -> None:
    """Resampling at given coordinates, which are no channels of the output."""
    window(call["input"].ndim - 2)(flow, call)
    if flow.carries(call["grid"]):
        flow.block(call, [call["grid"]], f"{call.where} takes coordinates")


def joined(flow: Flow, ids: Tensor, dims: Sequence[int], where: str) -> Tensor:
    """Identity after joining along `dims`, which stay with size 1; where channels differ they are protected."""
    reason = f"{where} joins several channels"
    small = core(ids)
    strongest = small.amax(tuple(dims), keepdim=True) if dims else small
    mixed = ((small != strongest) & (small != 0)).any(dim=tuple(dims), keepdim=True) if dims else small < 0
    if bool(mixed.any()):
        flow.channel_ids.protect(torch.where(mixed, small, 0), reason)
        # Where an barrier alone is joined with others it keeps its own reason.
        barrier = torch.tensor(flow.channel_ids.barrier(reason))
        strongest = torch.where(mixed & (strongest >= FIRST_PLACE), barrier, strongest)
    shape = [1 if dim in dims else size for dim, size in enumerate(ids.shape)]
    return compressed(strongest.expand(shape))


def _dims(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    if dim is None or dim == []:
        return tuple(range(ndim))
    several = [dim] if isinstance(dim, int) else list(dim)
    return tuple(one % ndim for one in several) if ndim else ()


def _without(ids: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in sorted(dims, reverse=True):
        ids = ids.squeeze(dim)
    return ids
