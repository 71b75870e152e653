"""Execution of training: plain, or faster with the same results within rounding."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer

from slimprune.errors import UnsupportedModelError
from slimprune.forward import ForwardAdapter, ForwardFn, Loss
from slimprune.training.bf16_weights import Bf16Weights
from slimprune.training.cuda_graphs import CapturedCallable, Note
from slimprune.training.data_parallel import BY_ITSELF, AcrossRanks
from slimprune.training.distillation import Distillation
from slimprune.training.evaluation import Forward, eager_forward
from slimprune.training.memory_format import MemoryOrder, channels_last_weights
from slimprune.training.penalties import Penalty
from slimprune.training.settings import TrainSettings
from slimprune.training.sparsity import HeldWeights
from slimprune.training.step import CapturedStep, EagerStep, FittingLoss, Step


@dataclass(frozen=True, eq=False)
class Additions:
    """What is added to every step.

    Attributes:
        teacher: Network in eval mode, on the device, that is imitated if the settings distil.
        penalty: Penalty on the model's weights.
        masks: Masks by name of the parameter, True for a weight that is trained; the others are held at zero.
        across: Ranks that train the network together.
    """

    teacher: nn.Module | None = None
    penalty: Penalty | None = None
    masks: Mapping[str, Tensor] | None = None
    across: AcrossRanks = BY_ITSELF


NOTHING = Additions()


@dataclass(frozen=True, eq=False)
class Execution:
    """Implementation of training steps and test passes.

    Attributes:
        optimizer: Optimizer of the trainable parameters; float32 weights and momentum buffers in every execution.
        step: One training step.
        forward: Function from inputs to output in eval mode; the next call may overwrite the output.
    """

    optimizer: Optimizer
    step: Step
    forward: Forward


@contextmanager
def open_execution(
    model: nn.Module,
    settings: TrainSettings,
    loss: Loss,
    device: torch.device,
    note: Note,
    forward_fn: ForwardFn | None = None,
    additions: Additions = NOTHING,
) -> Iterator[Execution]:
    """Yield the execution of one training; meanwhile the weights are in its memory order. See `make_execution`.

    With a `forward_fn`, whose batches need not be images, the execution is plain.
    """
    if forward_fn is not None:
        settings = replace(settings, fast=False)
    with channels_last_weights(model) if goes_fast(model, settings) else nullcontext():
        execution = make_execution(model, settings, loss, device, note, forward_fn, additions)
        try:
            yield execution
        finally:
            execution.optimizer.zero_grad(set_to_none=True)  # gradients may be in the memory of a captured graph


def goes_fast(model: nn.Module, settings: TrainSettings) -> bool:
    """Return whether training of the model is fast; never if it is wrapped in `DistributedDataParallel`.

    On MPS, where channels-last order has not been tried, it is fast only on request.
    """
    wanted = settings.fast if settings.fast is not None else not settings.device.startswith("mps")
    return wanted and not isinstance(model, DistributedDataParallel)


def make_execution(
    model: nn.Module,
    settings: TrainSettings,
    loss: Loss,
    device: torch.device,
    note: Note,
    forward_fn: ForwardFn | None = None,
    additions: Additions = NOTHING,
) -> Execution:
    """Return the execution that the settings select; all give the same results within rounding.

    - Plain: the direct implementation of the recipe.
    - Fast on the CPU: plain with images and weights in channels-last order. Steps per second relative to plain
      execution in float32 and, in brackets, bfloat16, batches of 8 to 64, one core of an AMD EPYC (avx512_bf16), torch
      2.15: VGG-19 1.05 (1.00) times, with a tenth of its MACs 1.31 (1.34) with odd widths and 1.21 (1.27) with
      multiples of 8, ResNet-20 1.29 (1.22), ResNet-18 1.12 (1.05), MobileNetV2 1.55 (1.29), DenseNet-121 1.34 (1.30),
      U-Net 0.99 (1.04). Neither the fused optimizer nor bfloat16 copies of the weights gained anything. A model that
      does not support this order is converted back to the default order (`MemoryOrder`).
    - Fast on CUDA: channels-last order, a fused optimizer, under `amp` bfloat16 copies of the weights, and the whole
      step captured once as a CUDA graph, unless several ranks train together. Test passes are captured likewise.

    Args:
        model: Model on the device, in channels-last order if it `goes_fast`.
        settings: Training settings.
        loss: Function (output, targets) -> mean loss, a scalar.
        device: Device of the training.
        note: Called with the reason if there is no capture or no channels-last order.
        forward_fn: Function (model, batch) -> output, if the model is not called with its inputs; for plain execution
            only.
        additions: What is added to every step.

    Raises:
        UnsupportedModelError: If the model has no trainable parameters.
        UsageError: If masks do not fit the model.
    """
    fast, on_cuda = goes_fast(model, settings), device.type == "cuda"
    optimizer = _optimizer(model, settings, fused=fast and on_cuda)
    forward = eager_forward(model, settings.amp, forward_fn)
    called = model if forward_fn is None else ForwardAdapter(model, forward_fn)
    plain = EagerStep(
        called,
        optimizer,
        FittingLoss(loss),
        settings.amp,
        distillation=_distillation(settings, additions.teacher, forward_fn),
        penalty=additions.penalty,
        held=None if additions.masks is None else HeldWeights.of(model, additions.masks),
        across=additions.across,
    )
    if not fast:
        return Execution(optimizer, plain, forward)
    arranged = replace(plain, arrange=MemoryOrder(model, note).images)
    if not on_cuda:
        return Execution(optimizer, arranged, forward)
    if additions.across.ranks.several:
        return Execution(optimizer, arranged, CapturedCallable(forward, forward, note))
    lowered = replace(arranged, weights=Bf16Weights(model).in_use) if settings.amp else arranged
    return Execution(optimizer, CapturedStep(lowered, arranged, device, note), CapturedCallable(forward, forward, note))


def _distillation(
    settings: TrainSettings, teacher: nn.Module | None, forward_fn: ForwardFn | None
) -> Distillation | None:
    if settings.distill is None or teacher is None:
        return None
    called = teacher if forward_fn is None else ForwardAdapter(teacher, forward_fn)
    return Distillation(called, settings.distill, settings.temperature)


def _optimizer(model: nn.Module, settings: TrainSettings, *, fused: bool) -> Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise UnsupportedModelError("expected a model with trainable parameters, got none")
    lr, decay = settings.lr, settings.weight_decay
    if settings.optimizer == "adamw":
        return AdamW(parameters, lr=lr, weight_decay=decay, fused=fused or None, capturable=fused)
    return SGD(
        parameters,
        lr=lr,
        momentum=settings.momentum,
        weight_decay=decay,
        nesterov=settings.nesterov,
        fused=fused or None,
    )
