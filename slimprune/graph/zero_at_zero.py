"""Running a model so that silent channels stay silent: elementwise functions are taken minus their value at zero."""

from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from slimprune.graph.data_mode import DataMode, is_data, mark_data
from slimprune.graph.propagation import replaced
from slimprune.graph.rules.table import is_pointwise

_PRODUCTS = ("aten::mul", "aten::mul_", "aten::div", "aten::div_")
_NEAR, _FLATTEST = 1e-4, 0.1
_POWERS = ("aten::pow", "aten::pow_")


class ZeroAtZero(DataMode):
    """Mode in which f(x) becomes f(x) - f(0) where f acts on each element of the data by itself.

    A sigmoid, a softplus or an added number makes a constant of a silent channel. Without its value at zero the channel
    stays 0 down to its readers, in the dense model and in the slim one alike. A product or quotient with 0 is 0, and so
    is a power of 0, whatever its exponent. What is flatter at 0 than its argument, such as a sigmoid, is scaled to
    slope 1: products of several such gates would be too small to show errors.

    Args:
        inputs: What the model reads. Only what depends on it is data; a variance or a gain is not.

    Attributes:
        changed: Names of the operators whose value at zero is not 0, in the order of their first calls.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        data = [tensor for tensor in read if is_data(tensor)]
        silent = [tensor == 0 for tensor in read] if data and func._schema.name in _PRODUCTS else []
        zeros = args[0] == 0 if func._schema.name in _POWERS and isinstance(args[0], Tensor) else None
        out = func(*args, **kwargs)
        if data:
            mark_data(out)
            if silent:
                _silence(out, silent)
            elif zeros is not None and is_data(args[0]):
                out.masked_fill_(zeros, 0.0)
            elif _is_function_of(data[0], read) and is_pointwise(func):
                self._shift(out, func, data[0], args, kwargs)
        return out

    def _shift(self, out: Any, func: Any, data: Tensor, args: Any, kwargs: Any) -> None:
        if not isinstance(out, Tensor) or not out.is_floating_point():
            return

        def value_at(point: float) -> float:
            def put(tensor: Tensor) -> Tensor:
                return (
                    torch.full((), point, dtype=tensor.dtype)
                    if tensor is data
                    else tensor.detach().cpu().reshape(()).clone()
                )

            return float(func(*replaced(args, put), **replaced(kwargs, put)))

        value = value_at(0.0)
        if value != 0 and isfinite(value):
            slope = (value_at(_NEAR) - value_at(-_NEAR)) / (2 * _NEAR)
            out.sub_(value).mul_(1 / slope if _FLATTEST < slope < 1 else 1)
            self.changed[func._schema.name.removeprefix("aten::").rstrip("_")] = None


def _is_function_of(data: Tensor, read: list[Tensor]) -> bool:
    """Return whether all other operands are single numbers of the model."""
    return all(one is data or (one.numel() == 1 and not is_data(one)) for one in read)


def _silence(out: Tensor, silent: list[Tensor]) -> None:
    """Replace 0 / 0 and 0 * inf by 0."""
    undefined = out.isnan()
    if bool(undefined.any()):
        for zeros in silent:
            out.masked_fill_(undefined & zeros, 0.0)
