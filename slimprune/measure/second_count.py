"""A second count of MACs: that of fvcore on the traced graph, by the same convention as `count_macs`.

fvcore is an independent program with other formulas on other operators, so equal figures confirm each other. It can
only count what torch.jit can trace, which is why plans do not use its figures.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, kind_and_line
from slimprune.measure.macs import unfused_attention
from slimprune.measure.recurrent import in_steps

_Handle = Callable[[Sequence[Any], Sequence[Any]], float]

_TRANSPOSED = 6
"""Position of the flag in the arguments of a convolution."""


def count_macs_fvcore(model: nn.Module, example: Tensor) -> int:
    """Return the MACs of one sample in eval mode, as counted by fvcore.

    Args:
        model: Any module that torch can trace; a copy is traced.
        example: Input [N, ...] on the model's device; the first sample is used.

    Raises:
        UnsupportedModelError: If torch cannot trace the model, or it has an operator that fvcore cannot count.
    """
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), unfused_attention():
            analysis = _analysis(model, example[:1])
            total, unsupported = float(analysis.total()), analysis.unsupported_ops()
    except Exception as error:
        rule = f"expected a model that fvcore can trace on an input {list(example[:1].shape)}"
        raise UnsupportedModelError(f"{rule}, got {kind_and_line(error)}") from error
    _refuse_uncounted(unsupported)
    return round(total)


def _analysis(model: nn.Module, example: Tensor) -> Any:
    with warnings.catch_warnings():
        # On import fvcore compiles a loss function with torch.jit.script, which is deprecated.
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis
    analysis = FlopCountAnalysis(in_steps(copy.deepcopy(model).eval()), example)
    analysis.clear_op_handles().set_op_handle(**_handles())
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")


def _refuse_uncounted(operators: Iterable[str]) -> None:
    for name in sorted(operators):
        if name in _UNCOUNTED or name.startswith(("prim::PythonOp", "prim::CallFunction")):
            raise UnsupportedModelError(f"expected operators whose MACs fvcore can count, got {name}")


def _handles() -> dict[str, _Handle]:
    from fvcore.nn.jit_handles import conv_flop_count, einsum_flop_jit, get_shape

    def convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> float:
        """Return outputs times products per output; for a transposed convolution, inputs times products per input."""
        shapes = [get_shape(value) for value in (*inputs[:2], outputs[0])]
        # The variant with padding "same" or "valid" has no transposition flag at position 6.
        transposed = len(inputs) > _TRANSPOSED + 1 and bool(inputs[_TRANSPOSED].toIValue())
        return float(conv_flop_count(*shapes, transposed=transposed))

    def contraction(position: int) -> _Handle:
        """Return the formula: entries of the output times the length of the summed index, the input's last one."""
        return lambda inputs, outputs: float(math.prod(get_shape(outputs[0])) * get_shape(inputs[position])[-1])

    def attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> float:
        """Return the MACs of attention: L * S * (E + V) for each leading entry.

        The shapes are [..., L, E] for queries, [..., S, E] for keys and [..., S, V] for values.
        """
        queries, keys = get_shape(inputs[0]), get_shape(inputs[1])
        *rows, value_width = get_shape(outputs[0])
        return float(math.prod(rows) * keys[-2] * (queries[-1] + value_width))

    positions = {
        **dict.fromkeys(("linear", "mm", "bmm", "matmul", "mv", "dot", "cdist"), 0),
        **dict.fromkeys(("addmm", "baddbmm"), 1),
    }
    return {
        **{f"aten::{name}": contraction(position) for name, position in positions.items()},
        **dict.fromkeys(("aten::_convolution", "aten::_convolution_mode"), convolution),
        "aten::einsum": einsum_flop_jit,
        "aten::scaled_dot_product_attention": attention,
    }


_UNCOUNTED = frozenset(
    {
        "aten::lstm",
        "aten::gru",
        "aten::rnn_tanh",
        "aten::rnn_relu",
        "aten::lstm_cell",
        "aten::gru_cell",
        "aten::rnn_tanh_cell",
        "aten::rnn_relu_cell",
        "aten::_native_multi_head_attention",
        "aten::_transformer_encoder_layer_fwd",
        "aten::addbmm",
        "aten::addmv",
        "aten::bilinear",
        "aten::chain_matmul",
        "aten::conv_tbc",
        "aten::inner",
        "aten::linalg_multi_dot",
        "aten::tensordot",
        "aten::vdot",
        "torchvision::deform_conv2d",
    }
)
