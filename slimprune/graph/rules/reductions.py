"""Operators that join several positions: channels pass through if only positions of one channel are joined."""

from collections.abc import Sequence

import torch
from torch import Tensor

from slimprune.graph.channel_ids import FIRST_PLACE, compressed, core, tied, varying
from slimprune.graph.propagation import Flow, OperatorCall


def reduce(flow: Flow, call: OperatorCall) -> None:
    """Follow sums, means, norms and extrema over some or all dimensions."""
    values = call["self"]
    if flow.source(values) is not None:
        return  # a value computed from a parameter alone is not a channel
    dims = dims_of(call["dim"], values.ndim)
    _unite_branches(flow, values, dims)
    passes = call.name in _SUMS or len(dims) == values.ndim or _is_statistic(call, dims)
    ids = _summed(flow.ids(values), dims) if passes else joined(flow, flow.ids(values), dims, call.where)
    for out in call.outputs:
        flow.set_ids(out, ids if call["keepdim"] else _without(ids, dims))


def _is_statistic(call: OperatorCall, dims: Sequence[int]) -> bool:
    """Return whether the operator may be part of a norm or gate over channels that lie in dimension 1 or last."""
    known = call.name in ("mean", "std", "var", "std_mean", "var_mean", "max", "amax")
    return known and is_over_channels(call["self"], dims, keepdim=bool(call["keepdim"]))


def is_over_channels(values: Tensor, dims: Sequence[int], *, keepdim: bool) -> bool:
    """Return whether a statistic is taken over dimension 1 or the last one alone.

    If the dimension does not stay with size 1, it is dimension 1 of an image: that of a sequence holds positions.
    """
    if len(dims) != 1 or values.ndim < 2:
        return False
    dim = dims[0] % values.ndim
    return dim in (1, values.ndim - 1) if keepdim else dim == 1 and values.ndim > 3


_SUMS = ("sum", "norm", "linalg_vector_norm", "any", "all")


def along(flow: Flow, call: OperatorCall) -> None:
    """Follow softmax, sorting and cumulative sums along one dimension, which keep the shape."""
    values = call["self"]
    dims = dims_of(call["dim"], values.ndim)
    _unite_branches(flow, values, dims)
    ids = joined(flow, flow.ids(values), dims, call.where)
    for out in call.outputs:
        flow.set_ids(out, ids)


def _unite_branches(flow: Flow, values: Tensor, dims: Sequence[int]) -> None:
    """Unite what is joined in one channel of the output, such as branches or parts."""
    ids = flow.ids(values)
    if varying(ids) - set(dims):
        flow.channel_ids.unite(ids, core(ids).amax(tuple(dims), keepdim=True))


def window(rank: int) -> "_Window":
    """Return the rule for pooling and resampling over the last `rank` dimensions."""
    return _Window(rank)


class _Window:
    """Pooling and resampling over positions; channels pass through."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def __call__(self, flow: Flow, call: OperatorCall) -> None:
        values = call.tensors[0]
        dims = tuple(range(values.ndim - self._rank, values.ndim))
        ids = joined(flow, flow.ids(values), dims, call.where)
        for out in call.outputs:
            flow.set_ids(out, ids)


def unpool(flow: Flow, call: OperatorCall) -> None:
    """Follow values that are put back to positions of their channel, which another tensor of equal channels names."""
    values = call["self"]
    dims = range(values.ndim - (2 if call.name.endswith("2d") else 3), values.ndim)
    both = [joined(flow, flow.ids(tensor), tuple(dims), call.where) for tensor in (values, call["indices"])]
    flow.channel_ids.unite(*both)
    flow.set_ids(call.out, both[0])


def spectrum(flow: Flow, call: OperatorCall) -> None:
    """Follow Fourier transforms over positions, forward and back; each channel has a spectrum of its own."""
    values = call["self"]
    flow.set_ids(call.out, joined(flow, flow.ids(values), dims_of(call["dim"], values.ndim), call.where))


def fold(flow: Flow, call: OperatorCall) -> None:
    """Follow patches [N, C * h * w, L] that are summed where they overlap, to images [N, C, H, W]."""
    values = call["self"]
    rows = tied(flow.channel_ids, flow.ids(values), values.ndim - 2).view(call.out.shape[-3], -1)
    flow.channel_ids.unite(rows, rows[:, :1])
    flow.set_ids(call.out, rows[:, 0].view(-1, 1, 1))


def as_complex(flow: Flow, call: OperatorCall) -> None:
    """Follow complex numbers made of real and imaginary parts along the last dimension."""
    ids = flow.ids(call["self"])
    flow.channel_ids.unite(core(ids), core(ids).amax(-1, keepdim=True))
    flow.set_ids(call.out, ids.amax(-1))


def as_real(flow: Flow, call: OperatorCall) -> None:
    """Follow the real and imaginary parts of complex numbers, along a new last dimension."""
    flow.set_ids(call.out, flow.ids(call["self"]).unsqueeze(-1))


def sample(flow: Flow, call: OperatorCall) -> None:
    """Follow resampling at given coordinates, which are not channels of the output."""
    window(call["input"].ndim - 2)(flow, call)
    flow.channel_ids.protect(flow.ids(call["grid"]), f"{call.where} takes coordinates")


def regions(flow: Flow, call: OperatorCall) -> None:
    """Follow the pooling of regions [K, C, h, w] from images [N, C, H, W], whose corners are no channels."""
    flow.set_ids(call.out, joined(flow, flow.ids(call["input"]), (0, 2, 3), call.where))
    if flow.carries(call["rois"]):
        flow.block(call, [call["rois"]], f"{call.where} takes coordinates")


def _summed(ids: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the identity after a sum along `dims`, which holds no channel where several are joined.

    Silent channels add nothing to a sum. What they change in a statistic of a norm, or in a number for all of a tensor
    as in an assertion, the proof shows.
    """
    strongest, mixed = _mixed(ids, dims)
    shape = [1 if dim in dims else size for dim, size in enumerate(ids.shape)]
    return compressed(torch.where(mixed & (strongest >= FIRST_PLACE), 0, strongest).expand(shape))


def joined(flow: Flow, ids: Tensor, dims: Sequence[int], where: str) -> Tensor:
    """Return the identity after joining along `dims`, which keep size 1; protect different channels that are joined."""
    reason = f"{where} joins several channels"
    small = core(ids)
    strongest, mixed = _mixed(ids, dims)
    if bool(mixed.any()):
        flow.channel_ids.protect(torch.where(mixed, small, 0), reason)
        # Where only barriers are joined, the strongest one keeps its own reason.
        barrier = torch.tensor(flow.channel_ids.barrier(reason))
        strongest = torch.where(mixed & (strongest >= FIRST_PLACE), barrier, strongest)
    shape = [1 if dim in dims else size for dim, size in enumerate(ids.shape)]
    return compressed(strongest.expand(shape))


def _mixed(ids: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the largest id along `dims`, and where others are joined with it; both keep size 1 along `dims`."""
    small = core(ids)
    strongest = small.amax(tuple(dims), keepdim=True) if dims else small
    return strongest, ((small != strongest) & (small != 0)).any(dim=tuple(dims), keepdim=True) if dims else small < 0


def dims_of(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the dimensions that an operator's argument `dim` names, all of them for None."""
    if dim is None or dim == []:
        return tuple(range(ndim))
    several = [dim] if isinstance(dim, int) else list(dim)
    return tuple(one % ndim for one in several) if ndim else ()


def _without(ids: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in sorted(dims, reverse=True):
        ids = ids.squeeze(dim)
    return ids
