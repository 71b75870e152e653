"""Running a model under random float64 tensors that make every channel count."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves

from slimprune.errors import FORWARD_ERRORS, first_line
from slimprune.graph.data_mode import mark_data
from slimprune.graph.groups import ChannelGroup, named_tensors
from slimprune.graph.in_double import InDouble, double_by_default
from slimprune.graph.removal import with_values


def random_state(
    model: nn.Module, inputs: tuple[Any, ...], seed: int, cross_channel: frozenset[str]
) -> dict[str, Tensor]:
    """Return float64 tensors for the model, with random vectors and norms.

    Fresh vectors and norms are all zeros or ones, which would hide errors. What is positive everywhere (variances,
    gains, exponents) stays positive. Running statistics are those of `inputs`, then perturbed: without them the output
    of a deep network fades to a constant.
    """
    generator = torch.Generator().manual_seed(seed + 1)

    def draw(like: Tensor, low: float, high: float) -> Tensor:
        return torch.empty(like.shape, dtype=torch.float64).uniform_(low, high, generator=generator).to(like.device)

    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    gains = {id(norm.weight) for norm in norms} | {id(norm.running_var) for norm in norms}
    state = {name: _double(tensor) for name, tensor in named_tensors(model).items()}
    for name, tensor in named_tensors(model).items():
        if tensor.is_floating_point() and id(tensor) in gains:
            state[name] = draw(tensor, 0.5, 1.5)
        elif tensor.is_floating_point() and _tells_little(tensor):
            state[name] = draw(tensor, 0.5, 1.5) if bool((tensor > 0).all()) else draw(tensor, -0.3, 0.3)
    state |= _strengthened(model, state)
    if not norms and not dict(model.named_buffers()):
        return state
    copied = eval_copy(model, state)
    for mean, variance in _calibrated_statistics(copied, inputs, cross_channel):
        mean += variance.sqrt() * draw(mean, -0.3, 0.3)
        variance *= draw(variance, 0.5, 1.5)
    # A buffer that `forward` recreates for the size of its input is left to `forward`.
    found = {name: tensor.detach() for name, tensor in named_tensors(copied).items()}
    return {name: found[name] if found[name].shape == drawn.shape else drawn for name, drawn in state.items()}


def _strengthened(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tables and tokens that are small for their size, such as biases of positions, with deviation 1 / sqrt(n).

    Here n is the largest of their sizes. Drawn with a deviation of 0.02, they would hardly show in the output.
    """
    layers = [module for module in model.modules() if isinstance(module, _LAYERS)]
    of_layers = {id(tensor) for layer in layers for tensor in layer.parameters(recurse=False)}
    found: dict[str, Tensor] = {}
    for name, tensor in model.named_parameters():
        several = sum(size > 1 for size in tensor.shape) > 1
        if several and id(tensor) not in of_layers and (deviation := float(state[name].std())) > 0:
            found[name] = state[name] * max(1.0, max(tensor.shape) ** -0.5 / deviation)
    return found


_LAYERS = (nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.MultiheadAttention)


def _tells_little(tensor: Tensor) -> bool:
    """Return whether the values of a tensor may not tell its channels apart: a vector, or equal everywhere.

    A single number that is not zero (an exponent, a temperature) has no channels to tell apart.
    """
    if tensor.numel() == 1:
        return not tensor.any()
    return sum(size > 1 for size in tensor.shape) <= 1 or bool((tensor == tensor.flatten()[:1]).all())


def _calibrated_statistics(
    model: nn.Module, inputs: tuple[Any, ...], cross_channel: frozenset[str]
) -> list[tuple[Tensor, Tensor]]:
    """Return running mean and variance of every norm, computed on `inputs`; other modules stay in eval mode."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train(norm.running_mean is not None)
    outputs(model, inputs, cross_channel)
    return [(n.running_mean, n.running_var) for n in norms if n.running_mean is not None and n.running_var is not None]


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64) if tensor.is_floating_point() else tensor.detach().clone()


def eval_copy(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy in eval mode that shares `tensors`."""
    return with_values(model, tensors).eval()


def training_copy(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy in training mode with buffers of its own, because that mode writes to running statistics."""
    buffers = dict(model.named_buffers())
    values = {name: tensor.clone() if name in buffers else tensor for name, tensor in tensors.items()}
    return with_values(model, values).train()


class _WithoutStatistics(TorchFunctionMode):
    """Mode in which norms over channels apply only gain and offset, so that no channel influences another.

    Group norms that lose whole groups are unchanged. Dropout is off, because its random mask depends on the shape.
    Recurrent layers compute out of the sight of other modes: a silent unit stays silent in them, and if their gates
    were taken minus their value at zero, what they remember would fade within a few steps.
    """

    def __init__(self, model: nn.Module, cross_channel: frozenset[str]) -> None:
        super().__init__()
        self._cross_channel = {id(tensor) for name, tensor in named_tensors(model).items() if name in cross_channel}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (F.layer_norm, F.rms_norm) and kwargs.get("weight", args[2] if len(args) > 2 else None) is not None:
            return _gain_and_offset(*args, **kwargs)
        if func is F.group_norm and id(kwargs.get("weight", args[2] if len(args) > 2 else None)) in self._cross_channel:
            return _gain_and_offset_of_images(*args, **kwargs)
        if func in _RECURRENT:
            with no_dispatch():
                out = func(*args, **kwargs)
            mark_data(out)
            return out
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


_RECURRENT = (
    *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
    *(torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell),
)
_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)


def _gain_and_offset(
    input: Tensor,  # noqa: A002 the name under which torch's modules may pass it
    normalized_shape: object,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    scaled = input if weight is None else input * weight
    return scaled if bias is None else scaled + bias


def _gain_and_offset_of_images(
    input: Tensor,  # noqa: A002 the name under which torch's modules may pass it
    num_groups: object,
    weight: Tensor,
    bias: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    shape = (-1, *[1] * (input.ndim - 2))
    scaled = input * weight.view(shape)
    return scaled if bias is None else scaled + bias.view(shape)


def outputs(
    model: nn.Module,
    inputs: tuple[Any, ...],
    cross_channel: frozenset[str],
    modes: Iterable[AbstractContextManager[object]] = (),
) -> list[Tensor] | str:
    """Return all tensors that the model returns, or what went wrong in one line.

    Args:
        model: The model.
        inputs: Its positional arguments.
        cross_channel: Names of the gains and offsets of norms that work without their statistics.
        modes: Other modes in which the model runs.
    """
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), ExitStack() as entered:
            for mode in (_WithoutStatistics(model, cross_channel), *modes):
                entered.enter_context(mode)
            return in_double(model, inputs)
    except FORWARD_ERRORS as error:
        return first_line(error)


def in_double(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Return all tensors that a model of float64 tensors returns.

    If the numbers that its code asks for do not fit, all stay float64.
    """
    try:
        found = model(*inputs)
    except RuntimeError as error:
        if not _OTHER_NUMBERS.search(str(error)):
            raise
        with InDouble(), double_by_default():  # type: ignore[no-untyped-call]
            found = model(*inputs)
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]


_OTHER_NUMBERS = re.compile("dtype|type", re.IGNORECASE)


def visible_groups(model: nn.Module, inputs: tuple[Any, ...], groups: Sequence[ChannelGroup]) -> frozenset[str]:
    """Return the ids of the groups on which an output depends.

    The gradient of the tensors that produce their channels is not zero. If gradients cannot be computed, all groups
    count as visible, and only the outputs are compared.
    """
    if not groups:
        return frozenset()
    parameters = dict(model.named_parameters())
    makers: dict[str, list[nn.Parameter]] = {}
    for group in groups:
        made = [parameters[s.name] for s in group.slots if s.role != "consumer" and s.name in parameters]
        # Vectors are as informative as matrices and take less memory.
        makers[group.id] = [tensor for tensor in made if tensor.ndim == 1] or made
    wanted = {id(tensor): tensor for several in makers.values() for tensor in several}
    try:
        for tensor in parameters.values():
            tensor.requires_grad_(id(tensor) in wanted)
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            leaves = [leaf for leaf in in_double(model, inputs) if leaf.requires_grad]
            found = torch.autograd.grad(
                [leaf.square().sum() for leaf in leaves], list(wanted.values()), allow_unused=True
            )
    except FORWARD_ERRORS:
        return frozenset(makers)
    seen = {number for number, gradient in zip(wanted, found, strict=True) if gradient is not None and gradient.any()}
    return frozenset(name for name, several in makers.items() if any(id(tensor) in seen for tensor in several))
