"""Tensors that a training step changes, by name: parameters, buffers and momentum buffers."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim import SGD

from slimprune.errors import VerificationError
from slimprune.training.distributed import unwrap


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's parameters and buffers themselves, tied ones once."""
    plain = unwrap(model)
    return {f"model.{name}": tensor for name, tensor in chain(plain.named_parameters(), plain.named_buffers())}


def state_tensors(model: nn.Module, optimizer: SGD) -> dict[str, Tensor]:
    """Return CPU copies of every parameter and buffer ("model.NAME") and momentum buffer ("momentum.NAME")."""
    tensors = _model_tensors(model)
    for name, parameter in unwrap(model).named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def fill_state(model: nn.Module, optimizer: SGD, saved: Mapping[str, Tensor]) -> None:
    """Copy tensors from `state_tensors` into a model and an optimizer of the same layout.

    Raises:
        VerificationError: If a name, shape or dtype differs; nothing is changed in that case.
    """
    own, parameters = _model_tensors(model), dict(unwrap(model).named_parameters())
    momenta = {f"momentum.{name}": parameter for name, parameter in parameters.items()}
    _check_layout(own, momenta, saved)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])
        for name, parameter in momenta.items():
            if name in saved:
                optimizer.state[parameter].setdefault("momentum_buffer", torch.empty_like(parameter)).copy_(saved[name])


def _check_layout(own: Mapping[str, Tensor], momenta: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    missing, unknown = own.keys() - saved.keys(), saved.keys() - own.keys() - momenta.keys()
    if missing or unknown:
        name = min(missing or unknown)
        raise VerificationError(f"expected a checkpoint of this model, got {name} on one side only")
    for name, tensor in sorted(saved.items()):
        expected = own[name] if name in own else momenta[name]
        if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            rule = f"expected {name} of {list(expected.shape)} {expected.dtype} in the checkpoint"
            raise VerificationError(f"{rule}, got {list(tensor.shape)} {tensor.dtype}")
