"""Running a model without the statistics that change by nature when channels go: those of weights and over channels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from slimprune.graph.data_mode import DataMode, is_data, mark_data
from slimprune.graph.rules.products import is_along_channels
from slimprune.graph.rules.reductions import is_over_channels


class NoStatistics(DataMode):
    """Mode in which means over weights or channels are 0, and deviations, norms, sums and mean squares are 1.

    Weight standardisation, weight normalisation and spectral normalisation mix the columns of a weight, and norms
    written by hand mix channels: the loss of one changes all others by nature. Without the statistics each entry is
    computed by itself, gains included, in the dense model and in the slim one alike. Statistics of data are left out if
    they are taken over channels (see `is_over_channels`), and so are those of group and layer norms without a gain. A
    filter that goes along channels (ECA) is left with its middle.

    Args:
        inputs: What the model reads. It and the outputs of layers are data, all else are weights.

    Attributes:
        changed: Names of the operators that were replaced, in the order of their first calls.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name.removeprefix("aten::")
        names = [argument.name for argument in func._schema.arguments]
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        # What a layer makes of learned queries or tables is data too.
        data = name in _LAYERS or any(map(is_data, read))
        plain = _zeros_or_ones if data and name == "mean" else _PLAIN.get(name)
        if name in ("native_group_norm", "native_layer_norm") and arguments.get("weight") is None:
            self.changed[name] = None
            out = (arguments["input"].clone(), *out[1:])
        elif name == "convolution" and is_along_channels(arguments["input"], arguments["weight"], out):
            self.changed[name] = None
            out = _middle(arguments)
        elif plain is not None and (name not in _EXACT and _is_over_channels(arguments) if data else _is_of_many(read)):
            self.changed[name.strip("_")] = None
            out = plain(out, arguments)
        if data:
            mark_data(out)
        return out


def _is_of_many(read: list[Tensor]) -> bool:
    return bool(read) and read[0].numel() > 1 and read[0].is_floating_point()


def _is_over_channels(arguments: dict[str, Any]) -> bool:
    values, dims = arguments.get("self"), arguments.get("dim")
    if values is None or not dims:
        return False
    return is_over_channels(values, dims, keepdim=bool(arguments.get("keepdim")))


def _zeros(out: Tensor, arguments: dict[str, Any]) -> Tensor:
    return torch.zeros_like(out)


def _zeros_or_ones(out: Tensor, arguments: dict[str, Any]) -> Tensor:
    """Return 1 for a mean of squares or lengths, by which others are divided, and 0 for any other mean."""
    return torch.ones_like(out) if bool((arguments["self"] >= 0).all()) else torch.zeros_like(out)


def _ones(out: Tensor, arguments: dict[str, Any]) -> Tensor:
    return torch.ones_like(out)


def _one_and_zero(out: tuple[Tensor, Tensor], arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return torch.ones_like(out[0]), torch.zeros_like(out[1])


def _gain_and_offset(out: tuple[Tensor, ...], arguments: dict[str, Any]) -> tuple[Tensor, ...]:
    values, gain, offset = arguments["input"], arguments.get("weight"), arguments.get("bias")
    shape = (-1, *[1] * (values.ndim - 2))
    scaled = values.clone() if gain is None else values * gain.view(shape)
    return (scaled if offset is None else scaled + offset.view(shape), *out[1:])


def _middle(arguments: dict[str, Any]) -> Tensor:
    filter_, bias = arguments["weight"].flatten(), arguments["bias"]
    scaled: Tensor = arguments["input"] * filter_[len(filter_) // 2]
    return scaled if bias is None else scaled + bias


def _gained(out: tuple[Tensor, Tensor], arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return arguments["v"] * arguments["g"], torch.ones_like(out[1])


_LAYERS = ("convolution", "addmm", "mm", "bmm", "baddbmm", "linear", "embedding")

_PLAIN: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "mean": _zeros,
    **dict.fromkeys(("std", "var", "norm", "linalg_vector_norm", "sum", "dot", "vdot"), _ones),
    **dict.fromkeys(("std_mean", "var_mean"), _one_and_zero),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "cudnn_batch_norm"),
        _gain_and_offset,
    ),
    "_weight_norm_interface": _gained,
}
_EXACT = ("sum", "norm", "linalg_vector_norm")
"""Over channels these stay, because silent channels add nothing to them."""
