"""Pruning by torch-pruning alone: half of the channels of every layer except output layers."""

import copy
import inspect
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
import torch_pruning
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from zoo_network import Network

from slimprune.graph.grouping import build_groups
from slimprune.graph.groups import named_tensors
from slimprune.graph.tracing import trace

TOLERANCE = 1e-5
SECONDS = 60
"""Limit on the processor time for building the graph and pruning; the system ends a process that exceeds it."""


def slimmed(network: Network) -> tuple[nn.Module | None, dict[str, Any]]:
    """Return the pruned model and whether it equals the dense one whose removed channels are zeroed at their source."""
    outputs = output_layers(network)
    dense = lively(network)
    slim = copy.deepcopy(dense)
    try:
        with at_most(SECONDS):
            removed = prune(network, slim, outputs)
    except Exception as error:  # noqa: BLE001 any error is a result
        return None, {"outcome": "crashes while pruning", "reason": f"{type(error).__name__} {error}"[:200]}
    try:
        found = run(network, slim)
    except Exception as error:  # noqa: BLE001
        return None, {"outcome": "crashes in forward", "reason": f"{type(error).__name__} {error}"[:200]}
    silence(dense, removed)
    difference = max(relative(a, b) for a, b in zip(run(network, dense), found, strict=True))
    outcome = "right" if difference <= TOLERANCE else "differs"
    reason = None if outcome == "right" else f"relative difference {difference:.1e}"
    return slim.float(), {"outcome": outcome, "reason": reason, "max_rel_diff": difference}


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """End the process by SIGXCPU if the work in the context takes more processor time."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def output_layers(network: Network) -> set[str]:
    """Return the names of the layers that compute the outputs, which stay whole."""
    model = network.module
    order = {name: position for position, name in enumerate(named_tensors(model))}
    groups = build_groups(trace(model, network.example), order)
    return {layer for group in groups if group.protected_reason == "model output" for layer in group.layers}


def lively(network: Network) -> nn.Module:
    """Return a float64 copy with random vectors and statistics of random images, in which wrong indices are visible."""
    twin = copy.deepcopy(network.module).double()
    generator = torch.Generator().manual_seed(0)
    for module in twin.modules():
        for name, tensor in [*module.named_parameters(recurse=False)]:
            if tensor.ndim <= 1:
                low, high = (0.5, 1.5) if "Norm" in type(module).__name__ and name == "weight" else (-0.3, 0.3)
                tensor.data.uniform_(low, high, generator=generator)
            if tensor.numel() == 1 and name == "bias":
                tensor.data.zero_()  # added to every channel, it would make a zeroed channel nonzero
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.momentum = 1.0
    with torch.no_grad():
        network.run(twin.train(), network.batch(8, seed=0, dtype=torch.float64))
    return twin.eval()


def prune(network: Network, model: nn.Module, outputs: set[str]) -> dict[str, list[int]]:
    """Prune a copy in place and return the original indices of the kept channels by module and by own parameter."""
    pruner = torch_pruning.pruner.BasePruner(
        model,
        network.batch(1, seed=0, dtype=torch.float64),
        importance=torch_pruning.importance.RandomImportance(),
        pruning_ratio=0.5,
        ignored_layers=[module for name, module in model.named_modules() if name in outputs],
    )
    names = {module: name for name, module in model.named_modules()}
    alive: dict[str, list[int]] = {}
    for group in pruner.step(interactive=True):
        for dep, indices in group:
            module = dep.target.module
            name = pruner.DG._param_to_name[module] if isinstance(module, nn.Parameter) else names.get(module)
            if "out" in dep.handler.__name__ and name is not None and rows(module):
                left = alive.setdefault(name, list(range(rows(module))))
                gone = set(indices)
                alive[name] = [channel for at, channel in enumerate(left) if at not in gone]
        group.prune()
    return alive


def channel_dim(parameter: Tensor) -> int:
    """Return the dimension of a module's own parameter that torch-pruning prunes: the last that is longer than 1."""
    return max((dim for dim, size in enumerate(parameter.shape) if size > 1), default=0)


def rows(module: nn.Module | nn.Parameter) -> int:
    """Return the number of channels that a layer computes or normalises, or that a parameter holds; 0 for others."""
    if isinstance(module, nn.Parameter):
        return module.shape[channel_dim(module)] if module.ndim else 0
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.out_channels
    if isinstance(module, nn.Linear):
        return module.out_features
    weight = getattr(module, "weight", None)
    return len(weight) if isinstance(weight, Tensor) and weight.ndim == 1 else 0


def silence(model: nn.Module, alive: dict[str, list[int]]) -> None:
    """Zero the removed channels at their source."""
    for name, parameter in model.named_parameters():
        if name in alive:
            gone = torch.ones(rows(parameter), dtype=torch.bool)
            gone[alive[name]] = False
            parameter.data.movedim(channel_dim(parameter), 0)[gone] = 0
    for name, module in model.named_modules():
        if name in alive:
            gone = torch.ones(rows(module), dtype=torch.bool)
            gone[alive[name]] = False
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            module.weight.data.movedim(int(transposed), 0)[gone] = 0
            for tensor in (getattr(module, name, None) for name in ("bias", "running_mean", "running_var")):
                if tensor is not None:
                    tensor.data[gone] = 0


class _WithoutStatistics(TorchFunctionMode):
    """Mode in which norms over several channels apply only their gain and offset, as in the package's own proof."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (F.layer_norm, F.group_norm, F.rms_norm):
            return func(*args, **(kwargs or {}))
        given = inspect.signature(func).bind(*args, **(kwargs or {})).arguments
        values, weight, bias = (given.get(name) for name in ("input", "weight", "bias"))
        behind = [1] * (values.ndim - 2) if func is F.group_norm else []
        scaled = values if weight is None else values * weight.view(-1, *behind)
        return scaled if bias is None else scaled + bias.view(-1, *behind)


def run(network: Network, model: nn.Module) -> list[Tensor]:
    """Return the outputs of a form of the network in eval mode on two random samples."""
    inputs = network.batch(2, seed=1, dtype=torch.float64)
    with torch.no_grad(), _WithoutStatistics():
        return network.run(model.eval(), inputs)


def relative(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference relative to the largest difference between the two samples."""
    if expected.shape != found.shape:
        return float("inf")
    if expected.numel() == 0:
        return 0.0
    scale = (expected[0] - expected[1]).abs().max() if expected.ndim and len(expected) > 1 else expected.abs().max()
    return float((expected - found).abs().max() / scale.clamp_min(1e-30))
