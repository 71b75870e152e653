"""Settings of a training run."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch

from slimprune.errors import UsageError
from slimprune.measure.devices import ACCELERATORS, count_devices

Schedule = Literal["step", "cosine"]
Optimiser = Literal["sgd", "adamw"]

DEVICES = ("cpu", *ACCELERATORS)
_KNOWN = "cpu, cuda, cuda:N, mps, xpu or xpu:N"


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training, by default stochastic gradient descent with momentum in PyTorch's convention.

    The defaults are the recipe of Prospect Pruning (Alizadeh et al., ICLR 2022, appendix A): lr 0.1, momentum 0.9,
    weight decay 5e-4, the learning rate divided by 10 at 50 % and at 75 % of the epochs.

    Attributes:
        epochs: Passes over the training batches, at least 1.
        lr: Peak learning rate, above 0.
        momentum: Momentum of SGD in [0, 1).
        weight_decay: L2 penalty on every parameter, at least 0; with AdamW decoupled from the gradient.
        nesterov: Whether to use Nesterov's momentum; requires a momentum above 0.
        schedule: "step" (per epoch) or "cosine" (per step, after a linear warm-up). See `learning_rate`.
        warm_up: Length of the linear warm-up: a share of the steps if below 1, otherwise epochs; None for a tenth of
            the steps before "cosine" and no warm-up before "step".
        amp: Whether forward passes run under `torch.autocast` in bfloat16.
        fast: Whether to use fast execution, with the same results within rounding; None to use it wherever the model
            allows it. See `make_execution`.
        device: "cpu", "cuda", "cuda:N", "mps", "xpu" or "xpu:N".
        seed: Seed from which each epoch's random numbers (dropout, a sampler on torch's generator) are derived.
        optimizer: "sgd" or "adamw" (Loshchilov and Hutter, ICLR 2019; betas 0.9 and 0.999).
        label_smoothing: Share of every label that is spread over all classes, in [0, 1); for cross-entropy.
        class_weights: Weight of each class in the cross-entropy; for binary masks one number, the weight of the
            foreground. Empty for equal weights.
        ema: Decay of an exponential moving average of the weights, in (0, 1), which is what is tested and what remains
            after training; None for no average. See `Averaging`.
        mixup: Parameter of MixUp's Beta distribution, above 0; None for no MixUp. See `Mixing`.
        cutmix: Parameter of CutMix's Beta distribution, above 0; None for no CutMix. See `Mixing`.
        patience: Epochs without a new minimum of the mean training loss after which training stops, at least 1; None
            to train all epochs.
        distill: Weight in (0, 1] of the distillation from a teacher; None for none. See `Distillation`.
        temperature: Temperature of the distillation, above 0.
        milestones: Epochs after which "step" divides the learning rate by 10, ascending and below `epochs`; empty for
            50 % and 75 % of the epochs.

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
    warm_up: float | None = None
    optimizer: Optimiser = "sgd"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    ema: float | None = None
    mixup: float | None = None
    cutmix: float | None = None
    patience: int | None = None
    distill: float | None = None
    temperature: float = 4.0
    milestones: tuple[int, ...] = ()

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
        optimizers = " or ".join(get_args(Optimiser))
        _require(self.optimizer in get_args(Optimiser), f"optimizer {optimizers}", self.optimizer)
        _require(not (self.nesterov and self.optimizer == "adamw"), "optimizer sgd with nesterov", self.optimizer)
        self._check_targets()
        _require(_among(self.ema, lambda ema: 0 < ema < 1), "ema in (0, 1)", self.ema)
        _require(_among(self.patience, lambda epochs: epochs >= 1), "patience of at least 1", self.patience)
        warm_up = f"a warm_up of at least 0 and below the {self.epochs} epochs"
        _require(_among(self.warm_up, lambda length: 0 <= length < max(1, self.epochs)), warm_up, self.warm_up)

        _require(not self.milestones or self.schedule == "step", "schedule step with milestones", self.schedule)
        places = (0, *self.milestones, self.epochs)
        rising = all(one < other for one, other in pairwise(places)) or not self.milestones
        _require(rising, f"ascending milestones in 1 ... {self.epochs - 1}", ", ".join(map(str, self.milestones)))

    def _check_targets(self) -> None:
        _require(0 <= self.label_smoothing < 1, "label_smoothing in [0, 1)", self.label_smoothing)
        positive = all(0 < weight < math.inf for weight in self.class_weights)
        _require(positive, "finite class_weights above 0", self.class_weights)
        _require(_among(self.mixup, lambda alpha: 0 < alpha < math.inf), "a finite mixup above 0", self.mixup)
        _require(_among(self.cutmix, lambda alpha: 0 < alpha < math.inf), "a finite cutmix above 0", self.cutmix)
        _require(_among(self.distill, lambda alpha: 0 < alpha <= 1), "distill in (0, 1]", self.distill)
        _require(0 < self.temperature < math.inf, "a finite temperature above 0", self.temperature)


def _among(value: float | None, allowed: Callable[[float], bool]) -> bool:
    return value is None or allowed(value)


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
