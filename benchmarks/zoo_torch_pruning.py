"""What torch-pruning makes of a model on its own: half of the channels of every layer but those of the output."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
import torch_pruning
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

TOLERANCE = 1e-5


def slimmed(model: nn.Module, example: Tensor) -> tuple[nn.Module | None, dict[str, Any]]:
    """The pruned model, and whether it equals the dense one whose removed channels are silenced where they are made."""
    dense = lively(model, example)
    slim = copy.deepcopy(dense)
    try:
        removed = prune(slim, example.double())
    except Exception as error:  # noqa: BLE001 whatever it raises is the result
        return None, {"outcome": "crashed", "reason": f"while pruning: {type(error).__name__} {error}"[:200]}
    try:
        found = run(slim, example)
    except Exception as error:  # noqa: BLE001
        return None, {"outcome": "crashed", "reason": f"in forward: {type(error).__name__} {error}"[:200]}
    silence(dense, removed)
    difference = max(relative(a, b) for a, b in zip(run(dense, example), found, strict=True))
    outcome = "proven" if difference <= TOLERANCE else "wrong"
    reason = None if outcome == "proven" else f"relative difference {difference:.1e}"
    return slim.float(), {"outcome": outcome, "reason": reason, "max_rel_diff": difference}


def lively(model: nn.Module, example: Tensor) -> nn.Module:
    """A float64 copy with random vectors and with statistics of random images, so that wrong indices show."""
    twin = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(0)
    for module in twin.modules():
        for name, tensor in [*module.named_parameters(recurse=False)]:
            if tensor.ndim <= 1:
                low, high = (0.5, 1.5) if "Norm" in type(module).__name__ and name == "weight" else (-0.3, 0.3)
                tensor.data.uniform_(low, high, generator=generator)
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.momentum = 1.0
    with torch.no_grad():
        twin.train()(torch.randn(8, *example.shape[1:], generator=generator, dtype=torch.float64))
    return twin.eval()


def prune(model: nn.Module, example: Tensor) -> dict[str, list[int]]:
    """Prunes `model` in place; the removed output channels by module, numbered as before."""
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
        made = [(dep.target.module, indices) for dep, indices in group if "out" in dep.handler.__name__]
        for module, indices in made:
            if module in names and rows(module):
                left = alive.setdefault(names[module], list(range(rows(module))))
                gone = set(indices)
                alive[names[module]] = [channel for at, channel in enumerate(left) if at not in gone]
        group.prune()
    return alive


def rows(module: nn.Module) -> int:
    """Number of channels that a layer makes or normalises; 0 for others."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.out_channels
    if isinstance(module, nn.Linear):
        return module.out_features
    weight = getattr(module, "weight", None)
    return len(weight) if isinstance(weight, Tensor) and weight.ndim == 1 else 0


def silence(model: nn.Module, alive: dict[str, list[int]]) -> None:
    """Zeros where removed channels are made."""
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
    """Layer norms keep their gain and offset only, as in the package's own proof."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.layer_norm:
            scaled = args[0] if args[2] is None else args[0] * args[2]
            return scaled if args[3] is None else scaled + args[3]
        return func(*args, **(kwargs or {}))


def run(model: nn.Module, example: Tensor) -> list[Tensor]:
    """Outputs in eval mode on two random images."""
    images = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad(), _WithoutStatistics():
        return [leaf for leaf in tree_leaves(model.eval()(images)) if isinstance(leaf, Tensor)]


def relative(expected: Tensor, found: Tensor) -> float:
    """Largest difference over the largest difference between the two samples."""
    if expected.shape != found.shape:
        return float("inf")
    return float((expected - found).abs().max() / (expected[0] - expected[1]).abs().max().clamp_min(1e-30))
