"""Example inputs of a model: a tensor, or nested tuples, lists and dicts of tensors."""

import copy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.measure.devices import has_float64

Example = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
"""A tuple holds the positional arguments of `forward`; anything else is its only argument."""

BATCH = 2
"""Number of samples in a trace or a proof; batch norm in training mode needs more than one."""


def inputs_of(example: Example) -> tuple[Any, ...]:
    """Return the positional arguments of a forward call."""
    return example if isinstance(example, tuple) else (example,)


def first_rows(example: Example, count: int) -> Example:
    """Return the example with each tensor cut to its first `count` samples."""
    cut: Example = tree_map_only(Tensor, lambda tensor: tensor[:count], example)
    return cut


def first_samples(example: Example, count: int = 1) -> tuple[Any, ...]:
    """Return the positional arguments with each tensor cut to its first `count` samples."""
    return inputs_of(first_rows(example, count))


def shapes_of(example: Example) -> list[tuple[int, ...]]:
    """Return the shapes of all tensors of the example."""
    return [tuple(leaf.shape) for leaf in tree_leaves(inputs_of(example)) if isinstance(leaf, Tensor)]


def on_device_of_proofs(model: nn.Module, example: Example) -> tuple[nn.Module, Example]:
    """Return model and example, or copies on the CPU if their device does not compute in float64, as proofs do."""
    devices = {tensor.device for tensor in chain(model.parameters(), model.buffers())}
    if all(map(has_float64, devices)):
        return model, example
    moved: Example = tree_map_only(Tensor, lambda tensor: tensor.cpu(), example)
    return copy.deepcopy(model).cpu(), moved


def random_inputs(example: Example, seed: int, batch: int = BATCH, *, double: bool = True) -> tuple[Any, ...]:
    """Draw random inputs of the example's shape: standard normal, or integers in the example's range.

    Args:
        example: Gives structure, shapes and dtypes.
        seed: Seed of the random numbers.
        batch: Number of samples.
        double: Whether to use float64 instead of the example's own floating-point dtype.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor) -> Tensor:
        shape = (batch, *tensor.shape[1:])
        if tensor.is_floating_point():
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
            return drawn.to(tensor.device, torch.float64 if double else tensor.dtype)
        above = 256 if tensor.dtype == torch.uint8 else int(tensor.max()) + 1
        return torch.randint(0, max(above, 1), shape, generator=generator).to(tensor.device, tensor.dtype)

    drawn: tuple[Any, ...] = tree_map_only(Tensor, draw, inputs_of(example))
    return drawn
