"""Operators that only move data: executed on the identity tensors themselves."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from slimprune.graph.flow import Call, Flow, Source
from slimprune.graph.identities import varying


def move(flow: Flow, call: Call) -> None:
    """The operator itself, run on identities; index tensors stay as they are."""
    _move(flow, call, call.run)


def move_as_numbers(flow: Flow, call: Call) -> None:
    """As `move`, for operators that torch has for floating point only; float64 holds the numbers exactly."""

    def run(change: Callable[[Tensor], Tensor]) -> Any:
        return call.run(lambda tensor: change(tensor).double()).long()

    _move(flow, call, run)


def pick(flow: Flow, call: Call) -> None:
    """Entries of the first argument, chosen by numbers that are data, not channels."""
    values = call["self"]

    def run(change: Callable[[Tensor], Tensor]) -> Any:
        return call.run(lambda tensor: change(tensor) if tensor is values else tensor.detach().cpu())

    _move(flow, call, run, [values])


def reshape(flow: Flow, call: Call) -> None:
    """Views of another shape. A dimension of channels that is cut into several keeps the length of each part."""
    shape = call.out.shape
    _move(flow, call, lambda change: change(call["self"]).reshape(shape))
    if flow.source(call["self"]) is None:
        ids = flow.ids(call["self"])
        for dim, parts in _cut_dims(ids.shape, shape):
            if dim in varying(ids):
                rows = ids.movedim(dim, 0).reshape(ids.shape[dim], -1).amax(1)
                flow.identities.splits.append(rows.view(-1, parts[-1]))


def split(flow: Flow, call: Call) -> None:
    """Parts of equal length: where channels are cut, all parts must stay equally long."""
    move(flow, call)
    ids, dim = flow.ids(call["self"]), call["dim"] % call["self"].ndim
    parts, size = len(call.out), call["split_size"]
    if dim in varying(ids) and flow.source(call["self"]) is None and parts * size == ids.shape[dim]:
        rows = ids.movedim(dim, 0).reshape(ids.shape[dim], -1).amax(1)
        flow.identities.splits.append(rows.view(parts, size))


def pad(flow: Flow, call: Call) -> None:
    """Padding with a constant holds no channel."""
    widths = call["pad"]
    _move(flow, call, lambda change: torch.constant_pad_nd(change(call["self"]), widths, 0))


def strided(flow: Flow, call: Call) -> None:
    """`as_strided` on a tensor that fills its storage from the start."""
    values = call["self"]
    if not values.is_contiguous() or values.storage_offset():
        raise NotImplementedError("as_strided of a view")
    _move(flow, call, lambda change: call.run(lambda tensor: change(tensor).contiguous()))


def _move(
    flow: Flow, call: Call, run: Callable[[Callable[[Tensor], Tensor]], Any], tensors: list[Tensor] | None = None
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


def _move_source(flow: Flow, call: Call, run: Callable[..., Any], source: Source, moved: Tensor) -> None:
    """A tensor of the model that is rearranged stays known by where its elements come from."""
    results: list[list[Tensor]] = [
        tree_leaves(
            run(lambda tensor, steps=steps: _alias(steps) if tensor is moved else tensor.detach().cpu())  # type: ignore[misc]
        )
        for steps in source.coordinates
    ]
    for number, out in enumerate(call.outputs):
        columns = [result[number] for result in results]
        flow.set_source(out, Source(source.name, source.shape, tuple(columns)).mapped(lambda steps: steps))


def _alias(ids: Tensor) -> Tensor:
    """A tensor object of its own, since in-place views change the object."""
    return ids.expand(ids.shape)


def _cut_dims(before: torch.Size, after: torch.Size) -> list[tuple[int, list[int]]]:
    """Dimensions of `before` that a view cuts into several longer than 1, with the lengths of the parts."""
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
