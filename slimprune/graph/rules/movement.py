"""Operators that only move data: they run on the identity tensors themselves."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from slimprune.graph.channel_ids import compressed, core, varying
from slimprune.graph.propagation import Flow, OperatorCall, TensorSource
from slimprune.graph.rules.elementwise import write
from slimprune.graph.rules.reductions import joined


def move(flow: Flow, call: OperatorCall) -> None:
    """Run the operator itself on channel ids; index tensors stay unchanged."""
    _move(flow, call, call.run)


def select(flow: Flow, call: OperatorCall) -> None:
    """Follow the selection of one entry along a dimension by its index."""
    _protect_numbered(flow, call, {call["dim"] % call["self"].ndim})
    move(flow, call)


def roll(flow: Flow, call: OperatorCall) -> None:
    """Follow a shift of entries by a fixed number of positions."""
    ndim = call["self"].ndim
    _protect_numbered(flow, call, {dim % ndim for dim in call["dims"]} or set(range(ndim)))
    move(flow, call)


def cut(flow: Flow, call: OperatorCall) -> None:
    """Follow a slice; if it is one of several equal parts of the channels, all parts keep the same length."""
    move(flow, call)
    values, dim = call["self"], call["dim"] % call["self"].ndim
    size, whole = call.out.shape[dim], values.shape[dim]
    start = min(call["start"] or 0, whole)
    start += whole if start < 0 else 0
    if call["step"] == 1 and 0 < size < whole and whole % size == start % size == 0:
        _keep_parts(flow, values, dim, size)


def shuffle(flow: Flow, call: OperatorCall) -> None:
    """Follow a channel shuffle, which interleaves equal parts of the channels."""
    move(flow, call)
    _keep_parts(flow, call["self"], 1, call["self"].shape[1] // call["groups"])


def move_as_numbers(flow: Flow, call: OperatorCall) -> None:
    """Follow operators that torch only has for floating-point tensors; float64 represents the ids exactly."""

    def run(change: Callable[[Tensor], Tensor]) -> Any:
        return call.run(lambda tensor: change(tensor).double()).long()

    _move(flow, call, run)


def pick(flow: Flow, call: OperatorCall) -> None:
    """Follow the selection of entries of the first argument by indices, which are data and not channels."""
    values, indices, dim = call["self"], call["indices"], call["dim"]
    picked = {number for number, index in enumerate(indices) if index is not None} if indices else {(dim or 0)}
    _protect_numbered(flow, call, {one % values.ndim for one in picked})

    def run(change: Callable[[Tensor], Tensor]) -> Any:
        return call.run(lambda tensor: change(tensor) if tensor is values else tensor.detach().cpu())

    _move(flow, call, run, [values])


def put(flow: Flow, call: OperatorCall) -> None:
    """Follow values that are written to, or added at, some positions of every channel."""
    target, values, mask = call["self"], call["values"], call["indices"][0]
    ids = flow.ids(target)
    if not flow.carries(values) and values.numel() == 1 and mask is not None and mask.dtype == torch.bool:
        flow.set_ids(call.out, ids)  # one number wherever a condition holds, as in masked_fill
        return
    written = torch.zeros(target.shape, dtype=torch.int64)
    written[tuple(slice(None) if index is None else index.cpu() for index in call["indices"])] = flow.ids(values)
    flow.channel_ids.unite(ids, written)
    both = compressed(torch.where(written != 0, written, ids))
    write(flow, call.out, joined(flow, both, _indexed(call["indices"]), call.where).expand(target.shape))


def _indexed(indices: Sequence[Tensor | None]) -> list[int]:
    """Return the dimensions that are addressed by index; a mask addresses as many as it has."""
    dims: list[int] = []
    dim = 0
    for index in indices:
        size = index.ndim if index is not None and index.dtype == torch.bool else 1
        dims += [] if index is None else range(dim, dim + size)
        dim += size
    return dims


def reshape(flow: Flow, call: OperatorCall) -> None:
    """Follow views of another shape; a dimension of channels that is split keeps the length of each part."""
    shape = call.out.shape
    _move(flow, call, lambda change: change(call["self"]).reshape(shape))
    for dim, parts in _cut_dims(call["self"].shape, shape):
        _keep_parts(flow, call["self"], dim, parts[-1])


def split(flow: Flow, call: OperatorCall) -> None:
    """Follow a split into parts of equal length; if channels are split, all parts keep the same length."""
    move(flow, call)
    dim, size = call["dim"] % call["self"].ndim, call["split_size"]
    if len(call.out) * size == call["self"].shape[dim]:
        _keep_parts(flow, call["self"], dim, size)


def pad(flow: Flow, call: OperatorCall) -> None:
    """Follow padding with a constant: padded positions belong to their channel, padded channels to none."""
    values, widths = call["self"], call["pad"]
    if flow.source(values) is None:
        # Along other dimensions than that of the channels every position holds the same channel, or a removed one's 0.
        still = set(range(values.ndim)) - varying(flow.ids(values))
        widths = [0 if values.ndim - 1 - number // 2 in still else width for number, width in enumerate(widths)]
        ids = torch.constant_pad_nd(core(flow.ids(values)), widths, 0)
        flow.set_ids(call.out, ids)
        return
    _move(flow, call, lambda change: torch.constant_pad_nd(change(values), widths, 0))


def strided(flow: Flow, call: OperatorCall) -> None:
    """Follow `as_strided` on a tensor that fills its storage from the start."""
    values = call["self"]
    if not values.is_contiguous() or values.storage_offset():
        raise NotImplementedError("as_strided of a view")
    _move(flow, call, lambda change: call.run(lambda tensor: change(tensor).contiguous()))


def _keep_parts(flow: Flow, values: Tensor, dim: int, size: int) -> None:
    """Record that `dim` is split into parts of `size`, if it holds channels."""
    if flow.source(values) is None and dim in varying(ids := flow.ids(values)):
        rows = ids.movedim(dim, 0).reshape(ids.shape[dim], -1).amax(1)
        flow.channel_ids.splits.append(rows.view(-1, size))


def _protect_numbered(flow: Flow, call: OperatorCall, dims: set[int]) -> None:
    """Protect channels that the code addresses by index, because a removal would change the indices of others."""
    values = call["self"]
    if flow.source(values) is None and (changing := varying(ids := flow.ids(values))) and changing <= dims:
        flow.channel_ids.protect(ids, f"{call.where} picks channels by number")


def _move(
    flow: Flow,
    call: OperatorCall,
    run: Callable[[Callable[[Tensor], Tensor]], Any],
    tensors: list[Tensor] | None = None,
) -> None:
    moved = [tensor for tensor in (call.tensors if tensors is None else tensors) if flow.carries(tensor)]
    source = flow.source(moved[0]) if len(moved) == 1 else None
    if source is not None:
        _move_source(flow, call, run, source, moved[0])
        return

    def ids(tensor: Tensor) -> Tensor:
        is_data = flow.carries(tensor) or tensor.is_floating_point()
        return _alias(flow.ids(tensor)) if is_data else tensor.detach().cpu()

    for out, result in zip(call.outputs, tree_leaves(run(ids)), strict=True):
        flow.set_ids(out, result)


def _move_source(flow: Flow, call: OperatorCall, run: Callable[..., Any], source: TensorSource, moved: Tensor) -> None:
    """Keep track of where the elements of a rearranged tensor of the model come from."""
    results: list[list[Tensor]] = [
        tree_leaves(run(lambda tensor, steps=steps: _alias(steps) if tensor is moved else tensor.detach().cpu()))
        for steps in source.coordinates
    ]
    for number, out in enumerate(call.outputs):
        columns = [result[number] for result in results]
        flow.set_source(out, TensorSource(source.name, source.shape, tuple(columns)).mapped(lambda steps: steps))


def _alias(ids: Tensor) -> Tensor:
    """Return a new tensor object, because in-place views change the object."""
    return ids.expand(ids.shape)


def _cut_dims(before: torch.Size, after: torch.Size) -> list[tuple[int, list[int]]]:
    """Return the dimensions of `before` that a view splits into several longer than 1, with the new lengths."""
    old = [(dim, size) for dim, size in enumerate(before) if size != 1]
    new = [size for size in after if size != 1]
    cuts: list[tuple[int, list[int]]] = []
    while old and new:
        dims, parts = [old.pop(0)], [new.pop(0)]
        while (have := math.prod(size for _, size in dims)) != (got := math.prod(parts)):
            if (have < got and not old) or (have > got and not new):
                return cuts
            if have < got:
                dims.append(old.pop(0))
            else:
                parts.append(new.pop(0))
        if len(dims) == 1 < len(parts):
            cuts.append((dims[0][0], parts))
    return cuts
