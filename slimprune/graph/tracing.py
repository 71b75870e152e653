"""Tracing: one forward pass of a model with channel ids; ids that meet in one place are united."""

import copy
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from slimprune.errors import FORWARD_ERRORS, UnsupportedModelError, first_line
from slimprune.graph.channel_ids import ChannelUnionFind
from slimprune.graph.example import Example, random_inputs
from slimprune.graph.groups import named_tensors
from slimprune.graph.propagation import Flow, OperatorCall, TensorSource, replaced
from slimprune.graph.rules import apply_rule
from slimprune.measure import in_steps, unfused_attention

_INPUT = "it meets the model's input"


def trace(model: nn.Module, example: Example) -> ChannelUnionFind:
    """Return the channel ids of all places of the model that its forward pass touches.

    The model runs on random inputs in eval mode, then once more in training mode if it can: auxiliary heads run only
    there.

    Args:
        model: Any module whose forward takes `example`; it is not modified.
        example: Gives shapes and dtypes.

    Raises:
        UnsupportedModelError: If the forward pass in eval mode fails.
    """
    channel_ids = ChannelUnionFind()
    inputs = random_inputs(example, seed=0, double=False)
    try:
        _follow(copy.deepcopy(model).eval(), inputs, channel_ids)
    except FORWARD_ERRORS as error:
        raise UnsupportedModelError(f"{type(model).__name__} cannot be traced: {first_line(error)}") from error
    # A failure in training mode would hit dense and slim models alike; ids united before it belong together anyway.
    with suppress(*FORWARD_ERRORS):
        _follow(copy.deepcopy(model).train(), inputs, channel_ids)
    _equal_layers(model, channel_ids)
    return channel_ids


def _equal_layers(model: nn.Module, channel_ids: ChannelUnionFind) -> None:
    """Unite the units of all layers and directions of a recurrent layer, for which torch knows one width."""
    names = {id(tensor): name for name, tensor in named_tensors(model).items()}
    for module in model.modules():
        for part in ("weight_hh", "weight_hr") if isinstance(module, nn.RNNBase) else ():
            own = [names[id(tensor)] for name, tensor in module.named_parameters(recurse=False) if part in name]
            rows = [channel_ids.places[name, 0] for name in own if (name, 0) in channel_ids.places]
            for several in rows[1:]:
                channel_ids.unite(rows[0], several)


def _follow(model: nn.Module, inputs: tuple[Any, ...], channel_ids: ChannelUnionFind) -> None:
    flow = Flow(channel_ids, layers=dict(in_steps(model).named_modules()))
    for name, tensor in named_tensors(model).items():
        flow.set_source(tensor, TensorSource.of(name, tensor))
    barrier = torch.tensor(channel_ids.barrier(_INPUT))
    inputs = replaced(inputs, torch.clone)
    for leaf in tree_leaves(inputs):
        if isinstance(leaf, Tensor):
            flow.set_ids(leaf, barrier)
    following = Following(model, partial(apply_rule, flow))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), unfused_attention(), following, _WholeNorms():
        outputs = model(*inputs)
    for leaf in tree_leaves(outputs):
        if isinstance(leaf, Tensor):
            channel_ids.protect(flow.ids(leaf), "model output")
    _protect_computed(model, flow)


def _protect_computed(model: nn.Module, flow: Flow) -> None:
    """Protect the tensors from which a layer's weights are computed, so that they are listed with the reason."""
    for layer, reason in flow.computed.items():
        for name, tensor in model.named_parameters():
            if name.startswith(f"{layer}.") and tensor.ndim > 1 and (name, 0) not in flow.channel_ids.places:
                flow.channel_ids.protect(flow.channel_ids.place(name, 0, len(tensor), "producer"), reason)


class Following(TorchDispatchMode):
    """Dispatch mode that reports every operator that a model calls, with the calling module.

    The hooks that it registers stay on the model.

    Args:
        model: The model that will run.
        each: Called with (the operator, its call) after every operator.
    """

    def __init__(self, model: nn.Module, each: Callable[[Any, OperatorCall], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._each = each
        self._layers: list[str] = []
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                module.register_forward_pre_hook(lambda *_, name=name: self._layers.append(name))
                module.register_forward_hook(lambda *_: self._leave(), always_call=True)

    def _leave(self) -> None:
        self._layers.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        names = [argument.name for argument in func._schema.arguments]
        defaults = {argument.name: argument.default_value for argument in func._schema.arguments}
        call = OperatorCall(
            name=func._schema.name.removeprefix("aten::").rstrip("_"),
            layer=self._layers[-1] if self._layers else "",
            values={**defaults, **dict(zip(names, args, strict=False)), **kwargs},
            out=out,
            run=lambda change: func(*replaced(args, change), **replaced(kwargs, change)),
        )
        self._each(func, call)
        return out


class _WholeNorms(TorchFunctionMode):
    """Mode that runs RMS norms, which torch decomposes, as layer norms.

    Both treat channels alike, and values do not matter here.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_as_layer_norm if func is F.rms_norm else func)(*args, **(kwargs or {}))


def _as_layer_norm(
    input: Tensor,  # noqa: A002 the name under which torch's modules may pass it
    normalized_shape: list[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    return F.layer_norm(input, normalized_shape, weight)
