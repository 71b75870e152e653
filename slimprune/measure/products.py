"""Operators of torch that sum products over an index, and how many products each of them takes.

The formulas are those of torch's own counter, `torch.utils.flop_counter`, whose figures are twice the MACs, and a few
that it lacks. The operators are those that remain after torch has decomposed composite ones: `linear` appears as
`addmm`, `tensordot` as `mm`, and so on.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch._ops import OpOverload
from torch.utils.flop_counter import flop_registry

Formula = Callable[[Sequence[Any], Mapping[str, Any], Any], int]
"""(arguments, keyword arguments, output) of an operator -> its multiply-accumulates."""

_FUSED_ATTENTION = re.compile(r"_scaled_dot_product_(?!.*backward)\w*attention\w*")
"""Attention as one operator; torch has one for every kind of device, and adds new ones with new versions."""

_PRODUCT = re.compile(
    r"\w*mm|mv|addmv|v?dot|matmul|linear|bilinear|trilinear|conv|convolution|attention|rnn|lstm|gru|einsum|transformer"
)
"""A word in the name of an operator that sums products."""

_RESAMPLING = "upsample"
"""Prefix of names such as upsample_bilinear2d, in which such a word means interpolation."""

_KNOWN_NAMESPACES = frozenset({"aten", "prim", "prims", "profiler", "torchvision", "c10d", "_c10d_functional"})
"""Libraries whose operators sum products only if a word of `_PRODUCT` is in their name."""


def formula_of(operator: Any) -> Formula | None:
    """Return the formula of an operator, or None."""
    packet = getattr(operator, "_overloadpacket", operator)
    name = _plain_name(operator)
    if name in _FORMULAS:
        return _FORMULAS[name]
    if _FUSED_ATTENTION.fullmatch(name):
        return _attention
    flops = flop_registry.get(packet)
    return None if flops is None else lambda args, kwargs, out: flops(*args, **kwargs, out_val=out) // 2


def may_sum_products(operator: Any) -> bool:
    """Return whether an operator without a formula may do multiply-accumulates.

    This is assumed if its name says so or if nothing is known about it: it belongs to another library, or it calls
    functions of its own.
    """
    if not isinstance(operator, OpOverload) or operator.namespace not in _KNOWN_NAMESPACES:
        return True
    name = _plain_name(operator)
    words = (word for word in re.split(r"_|\d+", name) if word)
    return not name.lstrip("_").startswith(_RESAMPLING) and any(_PRODUCT.fullmatch(word) for word in words)


def _plain_name(operator: Any) -> str:
    """Return the name without library and overload: `mm` for `aten::mm.out`."""
    return str(operator.name()).partition("::")[2].partition(".")[0]


def _contraction(position: int) -> Formula:
    """Return the formula: entries of the output times the length of the summed index, the last one of that argument."""

    def count(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
        return int(out.numel() * args[position].shape[-1])

    return count


def _summed_batches(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """Return the MACs of a sum over the products of matrices [B, n, m] and [B, m, p]: B * n * m * p."""
    return int(args[1].numel() * args[2].shape[-1])


def _attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """Return the MACs of attention: L * S * (E + V) for each of the leading entries.

    The shapes are [..., L, E] for queries, [..., S, E] for keys and [..., S, V] for values.
    """
    queries, keys, values = (argument.shape for argument in args[:3])
    return int(math.prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1]))


def _deformed_convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """Return the MACs of torchvision's deformable convolution: outputs times the products of one, resampling apart."""
    return int(out.numel() * math.prod(args[1].shape[1:]))


_FORMULAS: Mapping[str, Formula] = {
    "linear": _contraction(0),
    "mv": _contraction(0),
    "addmv": _contraction(1),
    "dot": _contraction(0),
    "vdot": _contraction(0),
    "addbmm": _summed_batches,
    "_cdist_forward": _contraction(0),
    "_euclidean_dist": _contraction(0),
    "deform_conv2d": _deformed_convolution,
}
