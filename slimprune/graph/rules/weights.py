"""Computations on tensors of the model alone, such as weight standardisation: their results count as the weight."""

from collections.abc import Callable

from torch import Tensor

from slimprune.graph.channel_ids import varying
from slimprune.graph.propagation import Flow, OperatorCall, TensorSource
from slimprune.graph.rules.reductions import dims_of

Followed = Callable[[Flow, OperatorCall], bool]


def follow_computed(flow: Flow, call: OperatorCall, pointwise: bool) -> bool:
    """Follow an operator that reads only tensors of the model and constants.

    Its output then stands for the largest of these tensors, whose rows and columns it has. Smaller ones (gains, norms)
    belong to the rows or columns along which they change.

    Args:
        flow: What tensors carry.
        call: The operator's call.
        pointwise: Whether the operator acts on each element by itself.

    Returns:
        Whether it was followed; if not, the rule for data applies.
    """
    if any(flow.carries(tensor) and flow.source(tensor) is None for tensor in call.tensors):
        return False
    follow = _RULES.get(call.name, _elementwise if pointwise else None)
    return follow is not None and follow(flow, call)


def _elementwise(flow: Flow, call: OperatorCall) -> bool:
    operands = [tensor for tensor in call.tensors if flow.source(tensor) is not None and tensor.numel() > 1]
    if not operands:
        return True
    largest = max(operands, key=Tensor.numel)
    others = [tensor for tensor in operands if tensor is not largest and not _same(flow, tensor, largest)]
    if largest.shape != call.out.shape or not all(_belongs(flow, largest, other) for other in others):
        return False
    _stand_for(flow, call.out, largest)
    return True


def _same(flow: Flow, first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are computed from the same one, so that nothing has to be united."""
    one, other = flow.source(first), flow.source(second)
    return one is not None and other is not None and one.name == other.name


def _belongs(flow: Flow, wide: Tensor, narrow: Tensor) -> bool:
    """Unite the positions of a tensor with those of the wide one along each axis along which it changes."""
    source = flow.source(narrow)
    axes = set() if source is None else set.union(set(), *map(varying, source.coordinates))
    found = [_unite(flow, (wide, axis - narrow.ndim), (narrow, axis - narrow.ndim)) for axis in axes]
    return bool(found) and all(found)


def _unite(flow: Flow, first: tuple[Tensor, int], second: tuple[Tensor, int]) -> bool:
    # The role is the weakest one: the operator that reads the weight says what its dimensions are.
    places = [flow.places(tensor, axis, "consumer") for tensor, axis in (first, second)]
    if places[0] is None or places[1] is None:
        return False
    flow.channel_ids.unite(places[0], places[1])
    return True


def _stand_for(flow: Flow, out: Tensor, weight: Tensor) -> None:
    source = flow.source(weight)
    if source is not None and flow.source(out) is None:
        flow.set_source(out, source)


def _reduce(flow: Flow, call: OperatorCall) -> bool:
    values = call["self"]
    source, dims = flow.source(values), dims_of(call["dim"], values.ndim)
    for out in call.outputs:
        if source is not None and out.numel() > 1:
            flow.set_source(out, _without(source, dims, bool(call["keepdim"])))
    return True


def _without(source: TensorSource, dims: tuple[int, ...], keep: bool) -> TensorSource:
    return source.mapped(lambda steps: steps.amin(dims, keepdim=keep))


def _batch_norm(flow: Flow, call: OperatorCall) -> bool:
    values = call["input"]
    vectors = [call[name] for name in ("weight", "bias") if call[name] is not None]
    if not all(_unite(flow, (values, 1), (vector, 0)) for vector in vectors):
        return False
    _stand_for(flow, call.out[0], values)
    return True


def _weight_norm(flow: Flow, call: OperatorCall) -> bool:
    direction, dim = call["v"], call["dim"]
    if not _unite(flow, (direction, dim), (call["g"], dim)):
        return False
    _stand_for(flow, call.out[0], direction)
    return True


def _times_vector(flow: Flow, call: OperatorCall) -> bool:
    matrix = call["self"]
    source = flow.source(matrix)
    if source is None or not _unite(flow, (matrix, 1), (call["vec"], 0)):
        return False
    flow.set_source(call.out, _without(source, (1,), keep=False))
    return True


def _dot(flow: Flow, call: OperatorCall) -> bool:
    first, second = call.tensors
    return _unite(flow, (first, 0), (second, 0))


_RULES: dict[str, Followed] = {
    **dict.fromkeys(("mean", "sum", "std", "var", "std_mean", "var_mean", "norm", "linalg_vector_norm"), _reduce),
    **dict.fromkeys(("amax", "amin"), _reduce),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "cudnn_batch_norm"), _batch_norm
    ),
    "_weight_norm_interface": _weight_norm,
    "mv": _times_vector,
    "dot": _dot,
    "vdot": _dot,
}
