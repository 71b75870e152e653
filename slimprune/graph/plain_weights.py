"""Running a model whose weights are computed from others without the statistics of these others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from slimprune.graph.zero_at_zero import is_data, mark_data


class PlainWeights(TorchDispatchMode):
    """Mode in which means over tensors of the model are 0, and deviations, norms, sums and dot products are 1.

    Weight standardisation, weight normalisation and spectral normalisation mix the columns of a weight, so that the
    loss of a column changes all others by nature. Without the statistics each entry is computed by itself, gains
    included, in the dense model and in the slim one alike.

    Args:
        inputs: What the model reads; statistics of what depends on it, or on the output of a layer, stay.

    Attributes:
        changed: Names of the operators that were replaced, in the order of their first calls.
    """

    def __init__(self, inputs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.changed: dict[str, None] = {}
        mark_data(inputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name.removeprefix("aten::")
        # What a layer makes of learned queries or tables is data too.
        if name in _LAYERS or any(map(is_data, read)):
            mark_data(out)
            return out
        plain = _PLAIN.get(name)
        if plain is None or not read or read[0].numel() <= 1 or not read[0].is_floating_point():
            return out
        self.changed[name.strip("_")] = None
        names = [argument.name for argument in func._schema.arguments]
        return plain(out, {**dict(zip(names, args, strict=False)), **kwargs})


def _zeros(out: Tensor, arguments: dict[str, Any]) -> Tensor:
    return torch.zeros_like(out)


def _ones(out: Tensor, arguments: dict[str, Any]) -> Tensor:
    return torch.ones_like(out)


def _one_and_zero(out: tuple[Tensor, Tensor], arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return torch.ones_like(out[0]), torch.zeros_like(out[1])


def _gain_and_offset(out: tuple[Tensor, ...], arguments: dict[str, Any]) -> tuple[Tensor, ...]:
    values, gain, offset = arguments["input"], arguments.get("weight"), arguments.get("bias")
    shape = (-1, *[1] * (values.ndim - 2))
    scaled = values.clone() if gain is None else values * gain.view(shape)
    return (scaled if offset is None else scaled + offset.view(shape), *out[1:])


def _gained(out: tuple[Tensor, Tensor], arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return arguments["v"] * arguments["g"], torch.ones_like(out[1])


_LAYERS = ("convolution", "addmm", "mm", "bmm", "baddbmm", "linear", "embedding")

_PLAIN: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "mean": _zeros,
    **dict.fromkeys(("sum", "std", "var", "norm", "linalg_vector_norm", "dot", "vdot"), _ones),
    **dict.fromkeys(("std_mean", "var_mean"), _one_and_zero),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "cudnn_batch_norm"),
        _gain_and_offset,
    ),
    "_weight_norm_interface": _gained,
}
