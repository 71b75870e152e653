"""Convolutions and matrix products: columns of a weight read channels, its rows produce new ones."""

from torch import Tensor

from slimprune.graph.channel_ids import tied, varying
from slimprune.graph.groups import Role, loses_whole_groups
from slimprune.graph.propagation import Flow, OperatorCall


def convolution(flow: Flow, call: OperatorCall) -> None:
    """Follow a convolution of any kind.

    The weight is [rows, columns / groups, ...], transposed [columns, rows / groups, ...].
    """
    values, weight, groups = call["input"], call["weight"], call["groups"]
    inputs, outputs = values.shape[1], call.out.shape[1]
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


def matrix_product(left: str, right: str, bias: str | None = None) -> "_MatrixProduct":
    """Return the rule for products left [..., n, k] @ right [..., k, m] with or without a bias."""
    return _MatrixProduct(left, right, bias)


class _MatrixProduct:
    """Products of matrices of which one is a weight: its columns read channels, its rows produce them."""

    def __init__(self, left: str, right: str, bias: str | None) -> None:
        self._left, self._right, self._bias = left, right, bias

    def __call__(self, flow: Flow, call: OperatorCall) -> None:
        left, right = call[self._left], call[self._right]
        if flow.source(right) is not None and left.ndim > 1:
            self._by_weight(flow, call, left, right, axes=(-1, -2, -1))
        elif flow.source(left) is not None and right.ndim > 1:
            self._by_weight(flow, call, right, left, axes=(-2, -1, -2))
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
    """Block fused attention: queries, keys and values keep their channels."""
    flow.block(call, call.tensors, f"attention in {call.layer}")


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
