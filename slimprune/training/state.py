"""Tensors that a training step changes, by name: parameters, buffers and the optimizer's state."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from slimprune.errors import VerificationError
from slimprune.training.distributed import unwrap

_NAMES: Mapping[type[Optimizer], Mapping[str, str]] = {
    SGD: {"momentum_buffer": "momentum"},
    AdamW: {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq", "step": "step"},
}
"""First parts of the names under which the entries of an optimizer's state are stored."""


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's parameters and buffers themselves, tied ones once."""
    plain = unwrap(model)
    return {f"model.{name}": tensor for name, tensor in chain(plain.named_parameters(), plain.named_buffers())}


def state_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return CPU copies of every parameter and buffer ("model.NAME") and of the optimizer's state.

    That of SGD is "momentum.NAME", that of AdamW "exp_avg.NAME", "exp_avg_sq.NAME" and "step.NAME".
    """
    tensors = _model_tensors(model)
    for name, (parameter, key) in _places(model, optimizer).items():
        value = optimizer.state.get(parameter, {}).get(key)
        if value is not None:
            tensors[name] = value
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def fill_state(model: nn.Module, optimizer: Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Copy tensors from `state_tensors` into a model and an optimizer of the same layout.

    Raises:
        VerificationError: If a name, shape or dtype differs; nothing is changed in that case.
    """
    own, places = _model_tensors(model), _places(model, optimizer)
    _check_layout(own, {name: _unset(optimizer, *place) for name, place in places.items()}, saved)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])
        for name, (parameter, key) in places.items():
            if name in saved:
                state = optimizer.state[parameter]
                if state.get(key) is None:
                    state[key] = _unset(optimizer, parameter, key)
                state[key].copy_(saved[name])


def _places(model: nn.Module, optimizer: Optimizer) -> dict[str, tuple[nn.Parameter, str]]:
    """Return the parameter and the key of every entry of the optimizer's state, by the name it is stored under."""
    return {
        f"{prefix}.{name}": (parameter, key)
        for key, prefix in _NAMES[type(optimizer)].items()
        for name, parameter in unwrap(model).named_parameters()
    }


def _unset(optimizer: Optimizer, parameter: nn.Parameter, key: str) -> Tensor:
    """Return an uninitialised tensor like that entry of the optimizer's state, on the device where it belongs."""
    if key != "step":
        return torch.empty_like(parameter, requires_grad=False)
    group = optimizer.param_groups[0]
    on_device = group["capturable"] or group["fused"]
    # Adam counts its steps in float32, unless float64 is the default.
    kind = torch.float64 if torch.get_default_dtype() == torch.float64 and not group["fused"] else torch.float32
    return torch.empty((), dtype=kind, device=parameter.device if on_device else "cpu")


def _check_layout(own: Mapping[str, Tensor], states: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    missing, unknown = own.keys() - saved.keys(), saved.keys() - own.keys() - states.keys()
    if missing or unknown:
        name = min(missing or unknown)
        raise VerificationError(f"expected a checkpoint of this model, got {name} on one side only")
    for name, tensor in sorted(saved.items()):
        expected = own[name] if name in own else states[name]
        if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            rule = f"expected {name} of {list(expected.shape)} {expected.dtype} in the checkpoint"
            raise VerificationError(f"{rule}, got {list(tensor.shape)} {tensor.dtype}")
