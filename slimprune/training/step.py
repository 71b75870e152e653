"""Training step: forward pass, backward pass and the optimizer's update."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from slimprune.errors import UnsupportedModelError
from slimprune.forward import Loss, loss_of
from slimprune.training.batches import first_tensor
from slimprune.training.cuda_graphs import CapturedCallable, Note
from slimprune.training.data_parallel import BY_ITSELF, AcrossRanks
from slimprune.training.distillation import Distillation
from slimprune.training.distributed import unwrap
from slimprune.training.penalties import Penalty
from slimprune.training.sparsity import HeldWeights
from slimprune.training.state import fill_state, state_tensors


class Step(Protocol):
    """Callable that performs a training step."""

    def __call__(self, inputs: Any, targets: Any, lr: float) -> Tensor:
        """Perform one step and return the loss before it, a scalar on the device.

        On the CPU, weights remain unchanged if the loss is nan or infinite.
        """


@dataclass(frozen=True, eq=False)
class EagerStep:
    """A step that is executed operator by operator.

    Attributes:
        model: Model in training mode, on the device of the inputs.
        optimizer: Optimizer of the trainable parameters.
        loss: Function (output, targets) -> mean loss, a scalar.
        amp: Whether the forward pass runs under autocast in bfloat16.
        arrange: Function applied to the inputs first.
        weights: Context manager around the forward and backward pass.
        distillation: Imitation of a teacher that becomes part of the loss.
        penalty: Penalty on the model's weights that is added to the loss.
        held: Weights that are held at zero.
        across: Ranks over which loss and gradients are averaged.
    """

    model: nn.Module
    optimizer: Optimizer
    loss: Loss
    amp: bool = False
    arrange: Callable[[Any], Any] = lambda inputs: inputs
    weights: Callable[[], AbstractContextManager[None]] = nullcontext
    distillation: Distillation | None = None
    penalty: Penalty | None = None
    held: HeldWeights | None = None
    across: AcrossRanks = BY_ITSELF

    def __call__(self, inputs: Any, targets: Any, lr: float) -> Tensor:
        """Perform one step. See `Step`."""
        set_learning_rate(self.optimizer, lr)
        return self.work(self.arrange(inputs), targets)

    def work(self, inputs: Any, targets: Any) -> Tensor:
        """Perform the step on arranged inputs with the optimizer's current learning rate."""
        device = first_tensor(inputs).device.type
        with self.weights():
            # In a captured graph, the cache of casts would outlive the pass that created it.
            with torch.autocast(device, torch.bfloat16, enabled=self.amp, cache_enabled=device == "cpu"):
                output = self.model(inputs)
                loss = self.loss(output, targets)
                if self.distillation is not None:
                    loss = self.distillation(loss, output, inputs)
            mean = self.across.mean(loss.detach())
            if mean.is_cpu and not math.isfinite(mean.item()):
                return mean
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
        self.across.average_gradients(self.model.parameters())
        total = mean if self.penalty is None else mean + self._penalise(self.penalty)
        if self.held is not None:
            self.held.mask_gradients()
        self.optimizer.step()
        return total

    def _penalise(self, penalty: Penalty) -> Tensor:
        """Add the gradient of the penalty on the float32 weights to that of the loss, and return the penalty."""
        value = penalty(unwrap(self.model))
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return value.detach()


class CapturedStep:
    """A step that is captured once as a CUDA graph and then replayed; the capture leaves the training state unchanged.

    The training state comprises weights, momentum and statistics. The first step, and every step on a batch of another
    size, is executed eagerly.

    Args:
        eager: Step to capture; its optimizer must be fused, and its learning rate becomes a tensor on the device.
        fallback: Step that is used if `eager` fails or cannot be captured.
        device: Device of the model.
        note: Called with the reason if there is no capture.
    """

    def __init__(self, eager: EagerStep, fallback: EagerStep, device: torch.device, note: Note) -> None:
        self._eager = eager
        self._work = CapturedCallable(eager.work, fallback.work, note, self._snapshot)
        for group in eager.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)

    def __call__(self, inputs: Any, targets: Any, lr: float) -> Tensor:
        """Perform one step. See `Step`."""
        set_learning_rate(self._eager.optimizer, lr)
        return self._work(self._eager.arrange(inputs), targets).clone()

    def _snapshot(self) -> Callable[[], None]:
        state = state_tensors(self._eager.model, self._eager.optimizer)
        return partial(fill_state, self._eager.model, self._eager.optimizer, state)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of the next step; a tensor is updated in place."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


@dataclass(eq=False)
class FittingLoss:
    """A loss that must be a scalar; the first call also checks that the output fits the targets."""

    loss: Loss
    _checked: bool = False

    def __call__(self, output: Any, targets: Any) -> Tensor:
        """Return the loss of a batch.

        Raises:
            UnsupportedModelError: If the output is a tensor with another number of samples or too few classes, or the
                loss fails on its arguments or is not a scalar.
        """
        if not self._checked and isinstance(output, Tensor) and isinstance(targets, Tensor):
            check_fit(output, targets)
        self._checked = True
        return loss_of(self.loss, output, targets)


def check_fit(output: Tensor, targets: Tensor) -> None:
    """Check that the output's batch size and number of classes fit the targets.

    Raises:
        UnsupportedModelError: If they do not.
    """
    if output.shape[:1] != targets.shape[:1]:
        found = f"{list(output.shape)} for {len(targets)} targets"
        raise UnsupportedModelError(f"expected one output per target, got {found}")
    classes = output.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point()
    if classes and int(targets.max()) >= output.shape[1]:
        found = f"{output.shape[1]} outputs for class {int(targets.max())}"
        raise UnsupportedModelError(f"expected an output per class, got {found}")
