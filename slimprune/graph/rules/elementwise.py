"""Elementwise operators: operands of one output element share one channel."""

import torch
from torch import Tensor

from slimprune.graph.channel_ids import FIRST_PLACE, compressed, core, varying
from slimprune.graph.groups import Role
from slimprune.graph.propagation import Flow, OperatorCall


def elementwise(flow: Flow, call: OperatorCall) -> None:
    """Unite all operands of each output element, as in a sum."""
    _combine_all(flow, call, annihilates=False)


def product(flow: Flow, call: OperatorCall) -> None:
    """Unite the factors of each output element; a zero channel stays zero whatever is broadcast over it."""
    _combine_all(flow, call, annihilates=True)


def unchanged(flow: Flow, call: OperatorCall) -> None:
    """Pass on what the first argument carries."""
    values = call.tensors[0]
    source = flow.source(values)
    for out in call.outputs:
        if source is not None and out is not values and out.shape == values.shape:
            flow.set_source(out, source)
        elif flow.carries(values) and out.shape == values.shape:
            flow.set_ids(out, flow.ids(values))


def constant(flow: Flow, call: OperatorCall) -> None:
    """Leave the output without channels, whatever tensor its shape was taken from."""


def gated_halves(flow: Flow, call: OperatorCall) -> None:
    """Unite channel i of the first half with its gate, channel i of the second half (GLU)."""
    ids, dim = flow.ids(call["self"]), call["dim"]
    first, second = ids.chunk(2, dim)
    flow.channel_ids.unite(first, second)
    flow.set_ids(call.out, flow.channel_ids.find(first))


def overwrite(flow: Flow, call: OperatorCall) -> None:
    """Unite what is copied in place with the channels that it overwrites; what had no channel takes them on."""
    target, written = call["self"], call["src"]
    if not flow.carries(written):
        return
    former = flow.ids(target)
    ids = combine(flow, target, former, written, call.where, annihilates=False)
    if bool(((former == 0) & (ids != 0)).any()):
        write(flow, target, ids)


def write(flow: Flow, target: Tensor, ids: Tensor) -> None:
    """Let a tensor, and the one of which it is a view, carry the ids of what was written into it."""
    whole = target if target._base is None else target._base
    carried = torch.empty_strided(whole.shape, whole.stride(), dtype=torch.int64).copy_(flow.ids(whole))
    offset = target.storage_offset() - whole.storage_offset()
    carried.as_strided(target.shape, target.stride(), offset).copy_(ids)
    flow.set_ids(whole, carried)
    flow.set_ids(target, ids)


def combine(
    flow: Flow, values: Tensor, ids: Tensor, other: Tensor, where: str, *, annihilates: bool, role: Role = "scale"
) -> Tensor:
    """Return the identity of an elementwise operator on `values`, which carries `ids`, and `other`.

    One operand may be constant across the channels of the other (a spatial gate, a position code). Then nothing is
    united: the channel that is broadcast is protected and, unless the operator is a product, so are those to which it
    is added. A constant of the model, such as a mask of attention, leaves them to the proof.
    """
    other_ids = flow.ids(other, role)
    shape = torch.broadcast_shapes(ids.shape, other_ids.shape)
    first, second = ids.expand(shape), other_ids.expand(shape)
    reason = f"{where} is broadcast over channels"
    if _is_broadcast(first, second, other):
        flow.channel_ids.protect(second, reason)
        if not annihilates and flow.source(other) is not None:
            flow.channel_ids.suspect(first, reason)
            return first
        if not annihilates and bool((core(second) != 0).any()):
            flow.channel_ids.protect(first, reason)
    elif _is_broadcast(second, first, values):
        flow.channel_ids.protect(first, reason)
        if not annihilates and bool((core(first) != 0).any()):
            flow.channel_ids.protect(second, reason)
        return second
    else:
        flow.channel_ids.unite(first, second)
    return _stronger(first, second)


def _combine_all(flow: Flow, call: OperatorCall, *, annihilates: bool) -> None:
    operands = [tensor for tensor in call.tensors if tensor.is_floating_point() or tensor.is_complex()] or call.tensors
    # One number of the model for all channels is like a number in the code.
    operands = [tensor for tensor in operands if flow.source(tensor) is None or tensor.numel() > 1]
    if not operands:
        return
    values, *others = operands
    ids = flow.ids(values)
    for other in others:
        if flow.carries(other):
            ids = combine(flow, values, ids, other, call.where, annihilates=annihilates)
    for out in call.outputs:
        flow.set_ids(out, flow.channel_ids.find(core(ids)).expand(ids.shape))


def _is_broadcast(wide: Tensor, narrow: Tensor, tensor: Tensor) -> bool:
    """Return whether `tensor`, which carries `narrow`, is constant along all dimensions where `wide` varies."""
    changing, ahead = varying(wide), wide.ndim - tensor.ndim
    return bool(changing) and all(
        dim not in varying(narrow)
        and (dim < ahead or tensor.shape[dim - ahead] == 1 or tensor.stride(dim - ahead) == 0)
        for dim in changing
    )


def _stronger(first: Tensor, second: Tensor) -> Tensor:
    """Return per element the stronger id: places before barriers before no channel; of two united places the first."""
    small = torch.broadcast_tensors(core(first), core(second))
    return compressed(torch.where(small[0] >= FIRST_PLACE, small[0], torch.maximum(*small)).expand(first.shape))
