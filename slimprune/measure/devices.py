"""What devices can do."""

from typing import Any

import torch
from torch import Tensor, nn

ACCELERATORS = ("cuda", "mps", "xpu")
"""Types of devices beside the CPU, under torch's names: NVIDIA and AMD, Apple, Intel."""

WITHOUT_FLOAT64 = ("mps",)


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64."""
    return device.type not in WITHOUT_FLOAT64


def count_devices(kind: str) -> int:
    """Return how many devices of a type torch sees."""
    module: Any = getattr(torch, kind)
    return module.device_count() if module.is_available() else 0


def synchronise(device: torch.device) -> None:
    """Wait until an accelerator has finished its work; do nothing on the CPU."""
    if device.type == "mps":
        torch.mps.synchronize()
    elif device.type in ACCELERATORS:
        torch.get_device_module(device).synchronize(device)


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generator of an accelerator; do nothing on the CPU."""
    if device.type == "mps":
        torch.mps.manual_seed(seed)
    elif device.type in ACCELERATORS:
        module = torch.get_device_module(device)
        with module.device(device):
            module.manual_seed(seed)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model: that of its first parameter, the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def random_state(device: torch.device) -> Tensor:
    """Return the state of an accelerator's generator, uint8 on the CPU."""
    state: Tensor = torch.mps.get_rng_state() if device.type == "mps" else _states(device).get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Set the state of an accelerator's generator."""
    if device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        _states(device).set_rng_state(state, device)


def _states(device: torch.device) -> Any:
    return torch.get_device_module(device)
