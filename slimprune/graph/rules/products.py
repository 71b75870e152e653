"""Convolutions and matrix products: columns of a weight read channels, its rows make new ones."""

from torch import Tensor

from slimprune.graph.flow import Call, Flow
from slimprune.graph.groups import Role, loses_whole_groups
from slimprune.graph.identities import tied, varying


def convolution(flow: Flow, call: Call) -> None:
    """Convolutions of all kinds; weight [rows, columns / groups, ...], transposed ones [columns, rows / groups, ...]."""
    values, weight, groups = call["input"], call["weight"], call["groups"]
    whole = groups > 1 and _loses_whole(values.shape[1], call.out.shape[1], groups)
    role: Role = "depthwise" if whole else "consumer" if call["transposed"] else "producer"
    first = flow.places(weight, 0, role)
    second = None if whole else flow.places(weight, 1, "producer" if call["transposed"] else "consumer")
    if first is None or (second is None and not whole):
        _computed(flow, call)
    elif whole:
        _make(flow, call, _whole_groups(flow, call, first), axis=1, role="depthwise")
    elif call["transposed"]:
        _read(flow, call, values, 1, first)
        _keep_even(flow, first, groups)
        _make(flow, call, second.repeat(groups), axis=1)  # type: ignore[union-attr]
    else:
        _read(flow, call, values, 1, second.repeat(groups))  # type: ignore[union-attr]
        _keep_even(flow, first, groups)
        _make(flow, call, first, axis=1)


def _loses_whole(inputs: int, outputs: int, groups: int) -> bool:
    return loses_whole_groups(groups, max(inputs, outputs) // groups)


def _whole_groups(flow: Flow, call: Call, rows: Tensor) -> Tensor:
    """All channels of a group live and die together, read and made; the depthwise convolution is the smallest case."""
    values, groups = call["input"], call["groups"]
    units = rows.view(groups, -1)
    flow.identities.unite(units, units[:, :1])
    read = tied(flow.identities, flow.ids(values), 1).view(groups, -1)
    flow.identities.unite(read, units[:, :1])
    return units[:, :1].expand(groups, call.out.shape[1] // groups).reshape(-1)


def _keep_even(flow: Flow, numbers: Tensor, groups: int) -> None:
    """The i-th channels of all groups live and die together."""
    if groups > 1:
        flow.identities.unite(numbers.view(groups, -1), numbers.view(groups, -1)[:1])


def matrix_product(left: str, right: str, bias: str | None = None) -> "_MatrixProduct":
    """Products left [..., n, k] @ right [..., k, m] with or without a bias."""
    return _MatrixProduct(left, right, bias)


class _MatrixProduct:
    def __init__(self, left: str, right: str, bias: str | None) -> None:
        self._left, self._right, self._bias = left, right, bias

    def __call__(self, flow: Flow, call: Call) -> None:
        left, right = call[self._left], call[self._right]
        if flow.source(right) is not None and left.ndim > 1:
            self._by_weight(flow, call, left, right, axes=(-1, -2, -1))
        elif flow.source(left) is not None and right.ndim > 1:
            self._by_weight(flow, call, right, left, axes=(-2, -1, -2))
        else:
            flow.block(call, [left, right], f"{call.where} multiplies activations with each other")

    def _by_weight(self, flow: Flow, call: Call, values: Tensor, weight: Tensor, axes: tuple[int, int, int]) -> None:
        """`axes`: the one of `values` that is read, that of the weight which reads it, and the one it makes."""
        columns, rows = flow.places(weight, axes[1], "consumer"), flow.places(weight, axes[2], "producer")
        if columns is None or rows is None:
            _computed(flow, call)
            return
        _read(flow, call, values, axes[0], columns)
        _make(flow, call, rows, axis=axes[2], bias=None if self._bias is None else call[self._bias])


def linear(flow: Flow, call: Call) -> None:
    """`linear` where torch does not take it apart: weight [rows, columns]."""
    columns, rows = flow.places(call["weight"], 1, "consumer"), flow.places(call["weight"], 0, "producer")
    if columns is None or rows is None:
        _computed(flow, call)
        return
    _read(flow, call, call["input"], -1, columns)
    _make(flow, call, rows, axis=-1)


def embedding(flow: Flow, call: Call) -> None:
    """Rows of a table [entries, channels], chosen by number."""
    channels = flow.places(call["weight"], 1, "producer")
    if channels is None:
        _computed(flow, call)
    else:
        flow.set_ids(call.out, channels.expand(call.out.shape))


def attention(flow: Flow, call: Call) -> None:
    """Fused attention: queries, keys and values keep their channels."""
    flow.block(call, call.tensors, f"attention in {call.layer}")


def _computed(flow: Flow, call: Call) -> None:
    flow.block(call, call.tensors, f"a weight of {call.layer} is computed from others")


def _read(flow: Flow, call: Call, values: Tensor, axis: int, columns: Tensor) -> None:
    """Position i along `axis` of `values` is read by column i."""
    ids = flow.ids(values)
    if varying(ids) and axis % values.ndim not in varying(ids) and values.shape[axis] > 1:
        flow.identities.protect(ids, f"{call.where} reads positions, not channels")
    else:
        flow.identities.unite(columns, tied(flow.identities, ids, axis))


def _make(
    flow: Flow, call: Call, rows: Tensor, axis: int, bias: Tensor | None = None, role: Role = "producer"
) -> None:
    """The output's channels along `axis` are those of the rows, and of the bias where there is one."""
    bias = call["bias"] if bias is None else bias
    if bias is not None and flow.carries(bias):
        offsets = flow.places(bias, -1, role) if flow.source(bias) is not None else None
        if offsets is None:
            flow.identities.protect(rows, f"a bias of {call.layer} is computed from others")
            flow.identities.protect(flow.ids(bias), f"a bias of {call.layer} is computed from others")
        else:
            flow.identities.unite(rows, offsets)
    ndim = call.out.ndim
    flow.set_ids(call.out, rows.view(*rows.shape, *[1] * (ndim - 1 - axis % ndim)).expand(call.out.shape))


def as_batch(flow: Flow, call: Call) -> None:
    """Products of a matrix and a vector of activations are not followed."""
    flow.block(call, call.tensors, f"{call.where} multiplies activations with each other")


