"""What each layer's output channels reach, read off torch-pruning's dependency graph as plain data."""

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd

from slimprune.errors import UnsupportedModelError, first_line
from slimprune.graph.groups import Role, named_tensors

Example = Tensor | tuple[Tensor, ...]


def inputs_of(example: Example) -> tuple[Tensor, ...]:
    """The positional inputs of a forward call."""
    return example if isinstance(example, tuple) else (example,)


FORWARD_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    ZeroDivisionError,
    NotImplementedError,
)
"""What a model's forward raises on an input, a width or a device that it does not take."""


@dataclass(frozen=True)
class Touch:
    """Channels of a root layer meeting one tensor: position `index[i]` along `dim` belongs to channel `root[i]`."""

    name: str
    dim: int
    role: Role
    index: list[int]
    root: list[int]


@dataclass(frozen=True)
class Obstacle:
    """Channels of a root layer that may not be removed, and why."""

    reason: str
    root: list[int]


@dataclass(frozen=True)
class Reach:
    """Everything that the output channels of one root layer reach."""

    layer: str
    width: int
    touches: tuple[Touch, ...]
    obstacles: tuple[Obstacle, ...]


def trace(model: nn.Module, example: Example) -> Iterator[Reach]:
    """Reach of every convolution and linear layer, in the model's order; the model itself is left untouched.

    Args:
        model: any module whose forward takes `example`.
        example: one input batch.

    Yields:
        One `Reach` per layer; layers that the forward never calls are left out.

    Raises:
        UnsupportedModelError: the forward fails on the example, or the graph cannot be built.
    """
    # Imported here so that a bundle loads where torch_pruning is not installed.
    import torch_pruning

    twin = copy.deepcopy(model).eval().requires_grad_(True)
    graph = torch_pruning.DependencyGraph()
    try:
        with warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            graph.build_dependency(twin, example_inputs=example, verbose=False)
    except FORWARD_ERRORS as error:
        raise UnsupportedModelError(
            f"torch-pruning cannot trace {type(model).__name__} ({first_line(error)})"
        ) from error
    names = {id(tensor): name for name, tensor in named_tensors(twin).items()}
    for layer, module in twin.named_modules():
        if isinstance(module, (_ConvNd, nn.Linear)) and module in graph.module2node:
            try:
                yield _reach(graph, layer, module, names)
            except FORWARD_ERRORS as error:
                yield _unmapped(layer, module, names, f"its channels cannot be followed: {first_line(error)}")


def _unmapped(layer: str, module: _ConvNd | nn.Linear, names: dict[int, str], reason: str) -> Reach:
    """A layer whose rows are known, but not what reads them."""
    places = _conv(module, True, 0) if isinstance(module, _ConvNd) else _linear(module, True, 0)
    width = module.out_channels if isinstance(module, _ConvNd) else module.out_features
    every = list(range(width))
    own = [] if isinstance(places, str) else [(names.get(id(tensor)), dim, role) for tensor, dim, role in places]
    touches = tuple(Touch(name, dim, role, every, every) for name, dim, role in own if name is not None)
    return Reach(layer, width, touches, (Obstacle(reason, every),))


def _reach(graph: Any, layer: str, module: nn.Module, names: dict[int, str]) -> Reach:
    pruner = graph.get_pruner_of_module(module)
    width = pruner.get_out_channels(module)
    touches: list[Touch] = []
    obstacles: list[Obstacle] = []
    for item in graph.get_pruning_group(module, pruner.prune_out_channels, range(width)):
        target, is_output = item.dep.target, item.dep.handler.__name__ == "prune_out_channels"
        index, root = list(item.idxs), list(item.root_idxs)
        if is_output and not target.outputs:
            obstacles.append(Obstacle("model output", root))
        for rule in RULES:
            if rule.applies(target.module):
                found = rule.places(target.module, is_output, target.pruning_dim)
                break
        else:
            found = _unknown(target.module)
        if isinstance(found, str):
            obstacles.append(Obstacle(found.format(layer=graph._module2name.get(target.module, "?")), root))
            continue
        for tensor, dim, role in found:
            if id(tensor) not in names:
                computed = f"a weight of {graph._module2name.get(target.module, '?')} is computed from others"
                obstacles.append(Obstacle(computed, root))
            elif max(index) >= tensor.shape[dim]:
                reason = (
                    f"torch-pruning's mapping does not fit {names[id(tensor)]} ({max(index)} of {tensor.shape[dim]})"
                )
                obstacles.append(Obstacle(reason, root))
            else:
                touches.append(Touch(names[id(tensor)], dim, role, index, root))
    return Reach(layer, width, tuple(touches), tuple(obstacles))


Place = tuple[Tensor, int, Role]


@dataclass(frozen=True)
class Rule:
    """How channels touch one kind of module: the places, or a sentence that says why they are protected."""

    applies: Callable[[Any], bool]
    places: Callable[[Any, bool, int], list[Place] | str]


def _conv(conv: _ConvNd, is_output: bool, _: int) -> list[Place] | str:
    if conv.groups > 1:
        if conv.groups != conv.in_channels or conv.in_channels != conv.out_channels:
            return f"grouped convolution {{layer}} (groups={conv.groups}) is not slimmed"
        return _present((conv.weight, 0, "depthwise"), (conv.bias, 0, "depthwise"))
    rows, columns = (1, 0) if conv.transposed else (0, 1)
    if is_output:
        return _present((conv.weight, rows, "producer"), (conv.bias, 0, "producer"))
    return [(conv.weight, columns, "consumer")]


def _linear(linear: nn.Linear, is_output: bool, _: int) -> list[Place]:
    if is_output:
        return _present((linear.weight, 0, "producer"), (linear.bias, 0, "producer"))
    return [(linear.weight, 1, "consumer")]


def _norm(norm: _NormBase, *_: object) -> list[Place]:
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return _present(*((tensor, 0, "norm") for tensor in tensors))


def _layer_norm(norm: nn.LayerNorm, *_: object) -> list[Place] | str:
    if len(norm.normalized_shape) != 1:
        return f"layer norm {{layer}} over {len(norm.normalized_shape)} dimensions is not slimmed"
    return _present((norm.weight, 0, "mixing"), (norm.bias, 0, "mixing"))


def _prelu(prelu: nn.PReLU, *_: object) -> list[Place]:
    return [(prelu.weight, 0, "scale")] if prelu.num_parameters > 1 else []


def _parameter(parameter: nn.Parameter, _: bool, dim: int) -> list[Place]:
    return [(parameter, dim % parameter.ndim, "scale")]


def _present(*places: tuple[Tensor | None, int, Role]) -> list[Place]:
    return [(tensor, dim, role) for tensor, dim, role in places if tensor is not None]


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda module: isinstance(module, kinds)


RULES = (
    Rule(_is(_ConvNd), _conv),
    Rule(_is(nn.Linear), _linear),
    Rule(_is(_BatchNorm, _NormBase), _norm),
    Rule(_is(nn.LayerNorm), _layer_norm),
    Rule(_is(nn.PReLU), _prelu),
    Rule(_is(nn.Parameter), _parameter),
)
"""The first rule that applies to a module decides; a module with parameters that no rule knows is protected."""


def _unknown(module: object) -> list[Place] | str:
    has_parameters = isinstance(module, nn.Module) and next(module.parameters(), None) is not None
    return f"{type(module).__name__} {{layer}} is not slimmed" if has_parameters else []
