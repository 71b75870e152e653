"""Weights of a network in a safetensors file."""

from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from slimprune.errors import DataError, first_line
from slimprune.files import write_atomically


def save_weights(model: nn.Module, file: Path) -> None:
    """Write parameters and buffers to a file, as a whole or not at all."""
    own = chain(model.named_parameters(), model.named_buffers())
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in own}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, as_safetensors(tensors))


def load_weights(model: nn.Module, file: Path) -> list[str]:
    """Copy the tensors of a file into `model`, in place.

    Args:
        model: Network whose tensors have the names in the file; a tied tensor may appear under any of its names.
        file: A safetensors file; a backbone's file may lack the last layers.

    Returns:
        Names of the parameters that are not in the file and remain unchanged.

    Raises:
        DataError: If the file cannot be read, contains a tensor that the model lacks or has in another shape, or
            contains none of the model's parameters.
    """
    try:
        found = load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"weights {file} cannot be read: {first_line(error)}") from error
    own = _tensors(model)
    for name, tensor in found.items():
        if name not in own:
            raise DataError(f"weights {file}: the model has no {name}")
        if own[name].shape != tensor.shape:
            shapes = f"expected {name} of shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}"
            raise DataError(f"weights {file}: {shapes}")
    filled = {id(own[name]) for name in found}
    missing = [name for name, parameter in model.named_parameters() if id(parameter) not in filled]
    if len(missing) == sum(1 for _ in model.parameters()):
        raise DataError(f"weights {file}: expected parameters of the model, got none")
    with torch.no_grad():
        for name, tensor in found.items():
            own[name].copy_(tensor)
    return missing


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, tied ones under each of their names."""
    every = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    return dict(chain(*every))
