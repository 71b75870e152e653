"""Settings of a training run, and the learning rate of each step."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from slimprune.errors import UsageError
from slimprune.measure.devices import ACCELERATORS, count_devices

Schedule = Literal["step", "cosine"]

WARM_UP_SHARE = 0.1

DEVICES = ("cpu", *ACCELERATORS)
_KNOWN = "cpu, cuda, cuda:N, mps, xpu or xpu:N"


@dataclass(frozen=True)
class TrainSettings:
    """Settings of stochastic gradient descent with momentum, in PyTorch's convention.

    The defaults are the recipe of Prospect Pruning (Alizadeh et al., ICLR 2022, appendix A): lr 0.1, momentum 0.9,
    weight decay 5e-4, the learning rate divided by 10 at 50 % and at 75 % of the epochs.

    Attributes:
        epochs: Passes over the training batches, at least 1.
        lr: Peak learning rate, above 0.
        momentum: Momentum in [0, 1).
        weight_decay: L2 penalty on every parameter, at least 0.
        nesterov: Whether to use Nesterov's momentum; requires a momentum above 0.
        schedule: "step" (per epoch) or "cosine" (per step, after a linear warm-up). See `learning_rate`.
        amp: Whether forward passes run under `torch.autocast` in bfloat16.
        fast: Whether to use fast execution, with the same results within rounding; None to use it wherever the model
            allows it. See `make_execution`.
        device: "cpu", "cuda", "cuda:N", "mps", "xpu" or "xpu:N".
        seed: Seed from which each epoch's random numbers (dropout, a sampler on torch's generator) are derived.

    Raises:
        UsageError: If a value is out of range.
    """

    epochs: int
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    schedule: Schedule = "step"
    amp: bool = False
    fast: bool | None = None
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        schedules = " or ".join(get_args(Schedule))
        _require(self.epochs >= 1, "epochs of at least 1", self.epochs)
        _require(0 < self.lr < math.inf, "a finite lr above 0", self.lr)
        _require(0 <= self.momentum < 1, "momentum in [0, 1)", self.momentum)
        _require(0 <= self.weight_decay < math.inf, "a finite weight_decay of at least 0", self.weight_decay)
        _require(not self.nesterov or self.momentum > 0, "a momentum above 0 with nesterov", self.momentum)
        _require(self.schedule in get_args(Schedule), f"schedule {schedules}", self.schedule)
        _require(self.seed >= 0, "a seed of at least 0", self.seed)
        _require(_device_type(self.device) in DEVICES, f"device {_KNOWN}", self.device)


def _require(holds: bool, rule: str, found: object) -> None:
    if not holds:
        raise UsageError(f"expected {rule}, got {found}")


def _device_type(name: str) -> str | None:
    try:
        return torch.device(name).type
    except RuntimeError:
        return None


def find_device(name: str) -> torch.device:
    """Return the device of that name, if this machine has it.

    Raises:
        UsageError: If the name is none of `DEVICES`, or torch does not see the device.
    """
    _require(_device_type(name) in DEVICES, f"device {_KNOWN}", name)
    device = torch.device(name)
    if device.type == "cpu":
        return device
    seen = count_devices(device.type)
    _require((device.index or 0) < seen, f"device {name} to be present", f"{seen} {device.type.upper()} devices")
    if device.type == "mps" or device.index is not None:
        return device
    return torch.device(device.type, torch.get_device_module(device).current_device())


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` selects the CUDA device if there is one, otherwise the CPU.

    Raises:
        UsageError: If the name is none of `DEVICES`, or torch does not see the device.
    """
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return find_device(automatic if name == "auto" else name)


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step; a pure function, so that a resumed run needs no scheduler state.

    With E epochs, T = E * steps_per_epoch steps and W = max(1, round(T / 10)) steps of warm-up:

        step:    lr * 0.1^[e >= E/2] * 0.1^[e >= 3E/4]        e = step // steps_per_epoch
        cosine:  lr * (step + 1) / W                          step < W
                 lr * (1 + cos(pi * (step - W) / (T - W))) / 2  otherwise, reaching 0 at T

    Args:
        settings: Settings that supply lr, epochs and schedule.
        step: Optimizer steps done so far in the whole run, from 0.
        steps_per_epoch: Batches in one epoch.
    """
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "step":
        done = step // steps_per_epoch / settings.epochs
        return settings.lr * (0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0)
    warm = max(1, round(WARM_UP_SHARE * total))
    if step < warm:
        return settings.lr * (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, total - warm))
    return settings.lr * (1 + math.cos(math.pi * progress)) / 2
