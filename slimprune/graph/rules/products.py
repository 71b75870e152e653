"""Convolutions and matrix products: columns of a weight read channels, its rows produce new ones."""

import torch
from torch import Tensor

from slimprune.graph.channel_ids import core, tied, varying
from slimprune.graph.groups import Role, loses_whole_groups
from slimprune.graph.propagation import Flow, OperatorCall
from slimprune.graph.rules.elementwise import combine


def convolution(flow: Flow, call: OperatorCall) -> None:
    """Follow a convolution of any kind.

    The weight is [rows, columns / groups, ...], transposed [columns, rows / groups, ...].
    """
    values, weight, groups = call["input"], call["weight"], call["groups"]
    inputs, outputs = values.shape[1], call.out.shape[1]
    if groups == inputs == outputs > 1 and call["bias"] is None and _is_one_filter(flow, weight):
        flow.set_ids(call.out, tied(flow.channel_ids, flow.ids(values), 1).view(-1, *[1] * (call.out.ndim - 2)))
        return
    if is_along_channels(values, weight, call.out) and varying(flow.ids(values)) == {2}:
        flow.set_ids(call.out, flow.ids(values))
        return
    if groups > 1 and loses_whole_groups(groups, max(inputs, outputs) // groups):
        filters = flow.places(weight, 0, "depthwise")
        if filters is None:
            _computed(flow, call)
        else:
            # All channels that a group reads or produces are removed together; a depthwise group is the smallest case.
            units = filters.view(groups, -1)
            flow.channel_ids.unite(units, units[:, :1])
            read, made = (units[:, :1].expand(-1, width // groups).reshape(-1) for width in (inputs, outputs))
            _apply(flow, call, values, (1, read), (1, made), role="depthwise")
        return
    roles: tuple[Role, Role] = ("consumer", "producer") if call["transposed"] else ("producer", "consumer")
    first, second = flow.places(weight, 0, roles[0]), flow.places(weight, 1, roles[1])
    if first is None or second is None:
        _computed(flow, call)
        return
    # The i-th channels of all groups are removed together: along the second dimension they are one place already.
    flow.channel_ids.unite(first.view(groups, -1), first.view(groups, -1)[:1])
    columns, rows = (first, second.repeat(groups)) if call["transposed"] else (second.repeat(groups), first)
    _apply(flow, call, values, (1, columns), (1, rows))


def is_along_channels(values: Tensor, weight: Tensor, out: Tensor) -> bool:
    """Return whether a convolution may go along channels, which are positions to it: one filter, as many outputs."""
    return values.ndim == 3 and weight.shape[:2] == (1, 1) and values.shape == out.shape


def _is_one_filter(flow: Flow, weight: Tensor) -> bool:
    """Return whether all filters of a depthwise weight are one that was expanded or repeated, as in a blur."""
    source = flow.source(weight)
    if source is None:
        return not flow.carries(weight)
    return len(weight) > source.shape[0] == 1 and all(0 not in varying(steps) for steps in source.coordinates)


def deformed_convolution(flow: Flow, call: OperatorCall) -> None:
    """Follow a deformable convolution, whose offsets and mask belong to positions of its filters."""
    convolution(flow, call)
    for name in ("offset", "mask"):
        flow.channel_ids.protect(flow.ids(call[name]), f"{call.where} takes coordinates")


def matrix_product(left: str, right: str, bias: str | None = None) -> "_MatrixProduct":
    """Return the rule for products left [..., n, k] @ right [..., k, m] with or without a bias."""
    return _MatrixProduct(left, right, bias)


class _MatrixProduct:
    """Products of matrices of which one is a weight: its columns read channels, its rows produce them."""

    def __init__(self, left: str, right: str, bias: str | None) -> None:
        self._left, self._right, self._bias = left, right, bias

    def __call__(self, flow: Flow, call: OperatorCall) -> None:
        left, right = call[self._left], call[self._right]
        for values, other, axes in ((left, right, (-1, -2)), (right, left, (-2, -1))):
            if call[self._bias or ""] is None and _mixes_positions(flow, values, other, axes):
                _pass_through(flow, call, values, axes[0])
                return
        if flow.source(right) is not None and left.ndim > 1:
            self._by_weight(flow, call, left, right, axes=(-1, -2, -1))
        elif flow.source(left) is not None and right.ndim > 1:
            self._by_weight(flow, call, right, left, axes=(-2, -1, -2))
        elif min(left.ndim, right.ndim) > 1:
            multiply(flow, call, left, right)
            if self._bias is not None and flow.carries(call[self._bias]):
                ids = flow.ids(call.out)
                flow.set_ids(call.out, combine(flow, call.out, ids, call[self._bias], call.where, annihilates=False))
        else:
            flow.block(call, [left, right], f"{call.where} multiplies activations with each other")

    def _by_weight(
        self, flow: Flow, call: OperatorCall, values: Tensor, weight: Tensor, axes: tuple[int, int, int]
    ) -> None:
        """Follow a product with a weight.

        Args:
            flow: What tensors carry.
            call: The product.
            values: The factor that is read.
            weight: The other factor.
            axes: The axis of `values` that is read, the axis of the weight that reads it, and the axis that the weight
                produces.
        """
        columns, rows = flow.places(weight, axes[1], "consumer"), flow.places(weight, axes[2], "producer")
        if columns is None or rows is None:
            _computed(flow, call)
            return
        bias = None if self._bias is None else call[self._bias]
        _apply(flow, call, values, (axes[0], columns), (axes[2], rows), bias=bias)


def _mixes_positions(flow: Flow, values: Tensor, other: Tensor, axes: tuple[int, int]) -> bool:
    """Return whether a matrix of the model sums over positions of `values`, while channels lie elsewhere.

    So do the edges of a fixed graph. Channels may lie along the summed axis too, one part of them for each kind of
    edge, if several dimensions of the matrix lie there.

    Args:
        flow: What tensors carry.
        values: One factor.
        other: The other factor.
        axes: The axes of both that are summed.
    """
    if min(values.ndim, other.ndim) < 2 or flow.source(values) is not None:
        return False
    source, axis = flow.source(other), axes[0] % values.ndim
    changing = varying(flow.ids(values))
    if not changing - {axis} or (source is None and flow.carries(other)):
        return False
    read = [] if source is None else [one for one in source.coordinates if axes[1] % other.ndim in varying(one)]
    return axis not in changing or len(read) != 1


def _pass_through(flow: Flow, call: OperatorCall, values: Tensor, axis: int) -> None:
    """Unite what is summed along an axis, and hand all other channels on."""
    ids = core(flow.ids(values))
    rows = ids.amax(axis, keepdim=True)
    flow.channel_ids.unite(ids, rows)
    flow.set_ids(call.out, rows.expand(call.out.shape))


def linear(flow: Flow, call: OperatorCall) -> None:
    """Follow `linear` where torch does not decompose it; the weight is [rows, columns]."""
    columns, rows = flow.places(call["weight"], 1, "consumer"), flow.places(call["weight"], 0, "producer")
    if columns is None or rows is None:
        _computed(flow, call)
        return
    _apply(flow, call, call["input"], (-1, columns), (-1, rows))


def embedding(flow: Flow, call: OperatorCall) -> None:
    """Follow an embedding: rows of a table [entries, channels], chosen by index."""
    channels = flow.places(call["weight"], 1, "producer")
    if channels is None:
        _computed(flow, call)
    else:
        flow.set_ids(call.out, channels.expand(call.out.shape))


def attention(flow: Flow, call: OperatorCall) -> None:
    """Follow fused attention softmax(q @ k^T / sqrt(width)) @ v, whose scale changes with the width of a head.

    Whole heads can go. Queries, keys and values of a single head keep their channels.
    """
    queries, keys, values = (call[name] for name in ("query", "key", "value"))
    ids = [flow.ids(tensor) for tensor in (queries, keys, values)]
    others = [tensor for tensor in call.tensors if not any(tensor is one for one in (queries, keys, values))]
    if any(map(flow.carries, others)) or not all(_in_heads(one) for one in ids):
        flow.block(call, call.tensors, f"attention in {call.layer}")
        return
    shape = torch.broadcast_shapes(*(one.shape[:-2] for one in ids))
    heads = [_head(flow, one, (-2, -1)).expand(*shape, 1, 1) for one in ids]
    flow.channel_ids.unite(heads[0], heads[1])
    flow.channel_ids.unite(heads[0], heads[2])
    flow.set_ids(call.outputs[0], heads[0].expand(call.outputs[0].shape))


def multiply(flow: Flow, call: OperatorCall, left: Tensor, right: Tensor) -> None:
    """Follow a product of activations left [..., n, k] @ right [..., k, m].

    Channels along k are read from both sides: a silent one adds 0 to every sum. If the products are taken in heads, the
    channels of a head go together, and the result belongs to the head. Along n or m the channels of one side pass on;
    the other side then holds positions, such as weights of attention.
    """
    first, second = flow.ids(left), flow.ids(right)
    read = _varies(first, -1) or _varies(second, -2)
    made = _varies(first, -2), _varies(second, -1)
    if all(made) or (read and any(made)):
        flow.block(call, [left, right], f"{call.where} multiplies channels with each other")
    elif read and not (_varies(first, -1) and _varies(second, -2)):
        flow.block(call, [left, right], f"{call.where} reads positions, not channels")
    elif read:
        _contract(flow, call, first, second)
    else:
        _pass_on(flow, call, (first, second), made)


def _contract(flow: Flow, call: OperatorCall, first: Tensor, second: Tensor) -> None:
    """Unite the channels that are read from both sides."""
    if not (_in_heads(first) or _in_heads(second)):
        flow.channel_ids.unite(core(first).amax(-2), core(second).amax(-1))
        flow.set_ids(call.out, torch.zeros((), dtype=torch.int64))
        return
    heads = _head(flow, first, (-1, -2)), _head(flow, second, (-1, -2))
    flow.channel_ids.unite(*heads)
    flow.set_ids(call.out, heads[0].expand(call.out.shape))


def _pass_on(flow: Flow, call: OperatorCall, factors: tuple[Tensor, Tensor], made: tuple[bool, bool]) -> None:
    """Hand the channels of one factor on to the output; those of the other hold for all positions."""
    kept, other = factors if made[0] else factors[::-1]
    if _in_heads(other):
        heads = _head(flow, kept, (-1, -2)), _head(flow, other, (-1, -2))
        flow.channel_ids.unite(*heads)
        flow.set_ids(call.out, heads[0].expand(call.out.shape))
        return
    flow.channel_ids.protect(other, f"{call.where} is broadcast over channels")
    rows = kept.amax(-1 if made[0] else -2, keepdim=True)
    flow.channel_ids.unite(kept, rows)
    flow.set_ids(call.out, rows.expand(call.out.shape))


def _varies(ids: Tensor, axis: int) -> bool:
    """Return whether the ids change along the axis."""
    return axis % ids.ndim in varying(ids)


def _in_heads(ids: Tensor) -> bool:
    """Return whether the ids change from one matrix to the next."""
    return any(dim < ids.ndim - 2 for dim in varying(ids))


def _head(flow: Flow, ids: Tensor, dims: tuple[int, int]) -> Tensor:
    """Unite all that belongs to one matrix, and return its id [..., 1, 1]."""
    head = ids.amax(dims, keepdim=True)
    flow.channel_ids.unite(ids, head)
    return head


def _computed(flow: Flow, call: OperatorCall) -> None:
    reason = f"a weight of {call.layer or 'the model'} is computed from others"
    flow.computed[call.layer] = reason
    flow.block(call, call.tensors, reason)


def _apply(
    flow: Flow,
    call: OperatorCall,
    values: Tensor,
    read: tuple[int, Tensor],
    made: tuple[int, Tensor],
    *,
    bias: Tensor | None = None,
    role: Role = "producer",
) -> None:
    """Read channels along one axis of `values`, and produce new ones along one axis of the output.

    Args:
        flow: What tensors carry.
        call: The convolution or product.
        values: The tensor that is read.
        read: The axis that is read, and the places that read its positions.
        made: The axis of the output, and the places that produce its positions.
        bias: Tensor added to the output; by default the argument called `bias`.
        role: Role of the bias.
    """
    ids, (axis, columns), (out_axis, rows) = flow.ids(values), read, made
    if varying(ids) and axis % values.ndim not in varying(ids):
        reason = f"{call.where} reads positions, not channels"
        flow.channel_ids.protect(rows, reason)
        flow.block(call, [values], reason)
        return
    flow.channel_ids.unite(columns, tied(flow.channel_ids, ids, axis))
    _add_bias(flow, call, rows, call["bias"] if bias is None else bias, role)
    behind = call.out.ndim - 1 - out_axis % call.out.ndim
    flow.set_ids(call.out, rows.view(*rows.shape, *[1] * behind).expand(call.out.shape))


def _add_bias(flow: Flow, call: OperatorCall, rows: Tensor, bias: Tensor | None, role: Role) -> None:
    if bias is None or not flow.carries(bias):
        return
    offsets = flow.places(bias, -1, role)
    if offsets is None:
        reason = f"a bias of {call.layer or 'the model'} is computed from others"
        flow.channel_ids.protect(rows, reason)
        flow.channel_ids.protect(flow.ids(bias), reason)
    else:
        flow.channel_ids.unite(rows, offsets)
