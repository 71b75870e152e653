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
from torch.utils._pytree import tree_leaves

TOLERANCE = 1e-5
SECONDS = 60
"""Limit on the processor time for building the graph and pruning; the system ends a process that exceeds it."""


def slimmed(model: nn.Module, example: Tensor) -> tuple[nn.Module | None, dict[str, Any]]:
    """Return the pruned model and whether it equals the dense one whose removed channels are zeroed at their source."""
    dense = lively(model, example)
    slim = copy.deepcopy(dense)
    try:
        with at_most(SECONDS):
            removed = prune(slim, example.double())
    except Exception as error:  # noqa: BLE001 any error is a result
        return None, {"outcome": "crashes while pruning", "reason": f"{type(error).__name__} {error}"[:200]}
    try:
        found = run(slim, example)
    except Exception as error:  # noqa: BLE001
        return None, {"outcome": "crashes in forward", "reason": f"{type(error).__name__} {error}"[:200]}
    silence(dense, removed)
    difference = max(relative(a, b) for a, b in zip(run(dense, example), found, strict=True))
    outcome = "right" if difference <= TOLERANCE else "silently wrong"
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


def lively(model: nn.Module, example: Tensor) -> nn.Module:
    """Return a float64 copy with random vectors and statistics of random images, in which wrong indices are visible."""
    twin = copy.deepcopy(model).double()
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
        twin.train()(torch.randn(8, *example.shape[1:], generator=generator, dtype=torch.float64))
    return twin.eval()


def prune(model: nn.Module, example: Tensor) -> dict[str, list[int]]:
    """Prune `model` in place and return the original indices of the kept channels by module and by own parameter."""
    outputs = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 1000]
    outputs += [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.out_channels in (21, 1000)]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.RandomImportance(),
        pruning_ratio=0.5,
        ignored_layers=outputs,
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
            for tensor in (module.bias, getattr(module, "running_mean", None), getattr(module, "running_var", None)):
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


def run(model: nn.Module, example: Tensor) -> list[Tensor]:
    """Return the outputs in eval mode on two random images."""
    images = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad(), _WithoutStatistics():
        return [leaf for leaf in tree_leaves(model.eval()(images)) if isinstance(leaf, Tensor)]


def relative(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference relative to the largest difference between the two samples."""
    if expected.shape != found.shape:
        return float("inf")
    return float((expected - found).abs().max() / (expected[0] - expected[1]).abs().max().clamp_min(1e-30))
