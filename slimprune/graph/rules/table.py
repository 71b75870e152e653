"""All operators by name: what each does to the channels that reach it."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from slimprune.errors import FORWARD_ERRORS, UsageError, first_line
from slimprune.graph.propagation import Flow, OperatorCall
from slimprune.graph.rules import elementwise, movement, norms, products, reductions
from slimprune.graph.rules.weights import follow_computed
from slimprune.registry import Registry, description_of, kind_of

OperatorRule = Callable[[Flow, OperatorCall], None]

Function = TypeVar("Function", bound=OperatorRule)


def register(name: str, description: str) -> Callable[[Function], Function]:
    """Register the decorated function as the rule of an operator.

    Args:
        name: Name as in `OperatorCall.name`: for torch's own operators without namespace, overload and the underscore
            of in-place forms, such as `conv2d`; for others with the namespace, such as `torchvision::roi_align`.
        description: One-line description for users.

    Raises:
        UsageError: If the operator already has a rule.
    """

    def add(rule: Function) -> Function:
        OPERATORS.add(name, description, rule, module=rule.__module__)
        return rule

    return add


def _as_rule(name: str, found: object) -> OperatorRule:
    if not callable(found):
        raise UsageError(f"expected the rule of operator {name} to be a function, got {kind_of(found)}")
    rule: OperatorRule = found
    return rule


OPERATORS: Registry[OperatorRule] = Registry(
    "an operator", "slimprune.operators", "an operator rule", _as_rule, code=False
)


def _each(rule: OperatorRule, names: str) -> dict[str, OperatorRule]:
    return dict.fromkeys(names.split(), rule)


_TORCHS: dict[str, OperatorRule] = {
    **_each(products.convolution, "convolution _convolution convolution_overrideable"),
    **_each(products.deformed_convolution, "torchvision::deform_conv2d"),
    **_each(products.matrix_product("mat1", "mat2", "self"), "addmm _addmm_activation"),
    **_each(products.matrix_product("batch1", "batch2", "self"), "baddbmm"),
    **_each(products.matrix_product("self", "mat2"), "mm bmm"),
    **_each(products.matrix_product("self", "other"), "matmul"),
    **_each(products.linear, "linear"),
    **_each(products.embedding, "embedding"),
    **_each(
        products.attention,
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math",
    ),
    **_each(
        norms.batch_norm,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
        "miopen_batch_norm _batch_norm_with_update _batch_norm_no_update",
    ),
    **_each(norms.layer_norm, "native_layer_norm"),
    **_each(norms.group_norm, "native_group_norm"),
    **_each(elementwise.product, "mul div _prelu_kernel masked_fill logical_and bitwise_and"),
    **_each(elementwise.elementwise, "hardswish log_sigmoid_forward rrelu_with_noise rsub where complex"),
    **_each(elementwise.gated_halves, "glu"),
    **_each(elementwise.overwrite, "copy"),
    **_each(movement.put, "index_put _unsafe_index_put"),
    **_each(
        elementwise.unchanged,
        "clone detach alias contiguous _to_copy lift_fresh lift native_dropout dropout tril triu _conj resolve_conj "
        "fill zero normal uniform bernoulli",
    ),
    **_each(
        elementwise.constant,
        "zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty new_full "
        "new_empty_strided _local_scalar_dense is_nonzero",
    ),
    **_each(
        movement.move,
        "permute transpose t cat stack split_with_sizes unsafe_split_with_sizes unbind expand squeeze unsqueeze "
        "flip repeat repeat_interleave unfold diagonal movedim narrow pixel_shuffle "
        "pixel_unshuffle",
    ),
    **_each(movement.select, "select"),
    **_each(movement.roll, "roll"),
    **_each(movement.cut, "slice"),
    **_each(movement.shuffle, "channel_shuffle native_channel_shuffle"),
    **_each(movement.pick, "index index_select gather take_along_dim"),
    **_each(movement.move_as_numbers, "im2col upsample_nearest1d upsample_nearest2d upsample_nearest3d"),
    **_each(movement.reshape, "view _unsafe_view reshape _reshape_alias unflatten flatten"),
    **_each(movement.split, "split unsafe_split"),
    **_each(movement.pad, "constant_pad_nd"),
    **_each(movement.strided, "as_strided"),
    **_each(
        reductions.reduce,
        "mean sum prod amax amin max min var std var_mean std_mean norm linalg_vector_norm logsumexp argmax argmin "
        "any all",
    ),
    **_each(reductions.along, "_softmax _safe_softmax _log_softmax cumsum cumprod sort topk logcumsumexp"),
    **_each(
        reductions.window(1),
        "max_pool1d avg_pool1d adaptive_avg_pool1d upsample_linear1d reflection_pad1d replication_pad1d",
    ),
    **_each(
        reductions.window(2),
        "max_pool2d max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d "
        "upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d _upsample_bicubic2d_aa reflection_pad2d "
        "replication_pad2d",
    ),
    **_each(reductions.unpool, "max_unpool2d max_unpool3d"),
    **_each(reductions.spectrum, "_fft_r2c _fft_c2r _fft_c2c"),
    **_each(reductions.fold, "col2im"),
    **_each(reductions.as_complex, "view_as_complex"),
    **_each(reductions.as_real, "view_as_real"),
    **_each(reductions.sample, "grid_sampler_2d grid_sampler_3d"),
    **_each(reductions.regions, "torchvision::roi_align torchvision::roi_pool"),
    **_each(
        reductions.window(3),
        "max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d upsample_trilinear3d "
        "reflection_pad3d replication_pad3d",
    ),
}

for _name, _rule in _TORCHS.items():
    OPERATORS.add(_name, description_of(_rule), _rule, module=__name__)


def apply_rule(flow: Flow, func: Any, call: OperatorCall) -> None:
    """Apply the rule of an operator; without a rule its channels are protected, with the reason.

    Raises:
        UsageError: If the rule belongs to an installed package and cannot be loaded.
    """
    if not any(flow.carries(tensor) for tensor in call.tensors):
        return
    if follow_computed(flow, call, is_pointwise(func)):
        return
    entry = OPERATORS.entry(call.name)
    pointwise = elementwise.elementwise if is_pointwise(func) else None
    rule = pointwise if entry is None else entry.load()
    if rule is None:
        flow.block(call, call.tensors, f"there is no rule for {call.where}")
        return
    try:
        rule(flow, call)
    except FORWARD_ERRORS as error:
        flow.block(call, call.tensors, f"channels cannot be followed through {call.where}: {first_line(error)}")


def is_pointwise(func: Any) -> bool:
    """Return whether an operator is tagged as pointwise; torch 2.10 tags only the functional form of `hardtanh_`."""
    name = func._schema.name.removeprefix("aten::").rstrip("_")
    functional = getattr(getattr(torch.ops.aten, name, None), func._overloadname, func)
    return torch.Tag.pointwise in func.tags or torch.Tag.pointwise in functional.tags
