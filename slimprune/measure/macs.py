"""Multiply-accumulates (MACs) of one forward pass, counted by fvcore on the traced graph.

fvcore calls them flops. Counted are the operators that sum products over an index: convolution, linear, the matrix
products, einsum, attention. Batch and other norms, activations, pooling, resampling and sums of branches do no
multiply-accumulates and count nothing, so figures differ from fvcore's own total, which includes some of them.
Biases count nothing either.
"""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError

with warnings.catch_warnings():
    # fvcore compiles a loss function with torch.jit.script when it is imported, which torch calls deprecated.
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import conv_flop_count, einsum_flop_jit, get_shape

Handle = Callable[[Sequence[Any], Sequence[Any]], float]

_TRANSPOSED = 6


def count_macs(model: nn.Module, example: Tensor) -> int:
    """MACs of one sample in eval mode.

    Args:
        model: Any module that torch can trace; a copy is traced, so mode, state and hooks stay as they are.
        example: Input [N, ...] on the model's device; the count of the batch is divided by N.

    Returns:
        MACs per sample.

    Raises:
        UnsupportedModelError: If the model does multiply-accumulates in an operator that is not counted, such as a
            recurrent layer, a deformable convolution or an autograd function written in Python; or if torch can
            neither copy nor trace it.
    """
    analysis = _analyse(model, example)
    _refuse_uncounted(analysis.unsupported_ops())
    return round(float(analysis.total()) / len(example))


def _analyse(model: nn.Module, example: Tensor) -> FlopCountAnalysis:
    """The analysis, finished: fvcore traces the model when it is first asked for a figure."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # The fused attention of eval mode is one opaque operator in the graph.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        analysis = FlopCountAnalysis(copy.deepcopy(model).eval(), example)
        analysis.clear_op_handles().set_op_handle(**_HANDLES)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        with torch.no_grad():
            analysis.total()
    except RuntimeError as error:
        cause = (str(error).splitlines() or [""])[0]
        rule = f"expected a model that torch can copy and trace on an input {list(example.shape)}"
        raise UnsupportedModelError(f"{rule}, got {cause}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return analysis


def _refuse_uncounted(operators: Mapping[str, int]) -> None:
    for name in sorted(operators):
        if name in _UNCOUNTED or name.startswith(("prim::PythonOp", "prim::CallFunction")):
            raise UnsupportedModelError(f"expected operators whose MACs can be counted, got {name}")


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> float:
    """Outputs times the products that each one sums; for a transposed convolution, inputs times their targets."""
    shapes = [get_shape(value) for value in (*inputs[:2], outputs[0])]
    # The variant with padding "same" or "valid" has no flag for transposition at position 6.
    transposed = len(inputs) > _TRANSPOSED + 1 and bool(inputs[_TRANSPOSED].toIValue())
    return float(conv_flop_count(*shapes, transposed=transposed))


def _contraction(position: int) -> Handle:
    """Entries of the output times the length of the summed index: the last one of that input."""

    def count(inputs: Sequence[Any], outputs: Sequence[Any]) -> float:
        return float(math.prod(get_shape(outputs[0])) * get_shape(inputs[position])[-1])

    return count


def _attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> float:
    """Queries [..., L, E], keys [..., S, E], values [..., S, V]: L * S * (E + V) for each of the leading entries."""
    queries, keys = get_shape(inputs[0]), get_shape(inputs[1])
    *rows, value_width = get_shape(outputs[0])
    return float(math.prod(rows) * keys[-2] * (queries[-1] + value_width))


_HANDLES: dict[str, Handle] = {
    "aten::_convolution": _convolution,
    "aten::_convolution_mode": _convolution,
    "aten::linear": _contraction(0),
    "aten::addmm": _contraction(1),
    "aten::mm": _contraction(0),
    "aten::bmm": _contraction(0),
    "aten::baddbmm": _contraction(1),
    "aten::matmul": _contraction(0),
    "aten::mv": _contraction(0),
    "aten::dot": _contraction(0),
    "aten::einsum": einsum_flop_jit,
    "aten::scaled_dot_product_attention": _attention,
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
