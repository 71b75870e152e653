"""The way that a training takes: the plain one, or the faster ones to the same results within rounding."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from slimprune.errors import UnsupportedModelError
from slimprune.training.evaluation import Forward, eager_forward
from slimprune.training.layout import channels_last, channels_last_weights
from slimprune.training.lowering import LoweredWeights
from slimprune.training.recording import Note, Recorded
from slimprune.training.settings import TrainSettings
from slimprune.training.step import CapturedStep, EagerStep, FittingLoss, Loss, Step


@dataclass(frozen=True, eq=False)
class Way:
    """How steps and test passes are made.

    Attributes:
        optimizer: of the parameters that are trained; float32 weights and momentum buffers on every way.
        step: one training step.
        forward: inputs to output in eval mode; the next call may overwrite the output.
    """

    optimizer: SGD
    step: Step
    forward: Forward


@contextmanager
def open_way(model: nn.Module, settings: TrainSettings, loss: Loss, device: torch.device, note: Note) -> Iterator[Way]:
    """The way that the settings choose; the weights' memory order is put back afterwards.

    - Plain: what a reader of the recipe would write. Models wrapped in `DistributedDataParallel` always take it.
    - On the CPU the fast path is the same in channels-last order. Measured there in steps per second against the plain
      one, on one core of an AMD EPYC (avx512_bf16), torch 2.15, float32 and in brackets bfloat16: VGG-19 1.05 (1.00),
      a tenth of its MACs 1.31 (1.34) with odd widths and 1.21 (1.27) with multiples of 8, ResNet-18 1.12 (1.05),
      ResNet-20 1.29 (1.22), MobileNetV2 1.55 (1.29), DenseNet-121 1.34 (1.30), U-Net 0.99 (1.04). Neither the fused
      optimizer nor bfloat16 copies of the weights gained anything there.
    - On CUDA it is channels-last as well, with a fused optimizer and, under `amp`, with bfloat16 copies of the weights,
      and the whole step is recorded once as a CUDA graph. Test passes are recorded likewise.

    Args:
        model: on the device.
        settings: with `fast`, which is None for fast wherever the model allows.
        loss: (output, targets) -> mean loss, a scalar.
        device: where everything runs.
        note: hears why a step cannot be recorded.

    Raises:
        UnsupportedModelError: nothing can be trained.
    """
    fast = settings.fast is not False and not isinstance(model, DistributedDataParallel)
    forward, fitting = eager_forward(model, settings.amp), FittingLoss(loss)
    with channels_last_weights(model) if fast else nullcontext():
        optimizer = _optimizer(model, settings, fused=fast and device.type == "cuda")
        plain = EagerStep(model, optimizer, fitting, settings.amp)
        try:
            if not fast:
                yield Way(optimizer, plain, forward)
            elif device.type == "cpu":
                yield Way(optimizer, replace(plain, arrange=channels_last), forward)
            else:
                yield Way(optimizer, _captured(plain, device, note), Recorded(forward, forward, note))
        finally:
            optimizer.zero_grad(set_to_none=True)  # gradients may lie in the memory of a recording


def _captured(plain: EagerStep, device: torch.device, note: Note) -> Step:
    fallback = replace(plain, arrange=channels_last)
    lowered = replace(fallback, weights=LoweredWeights(plain.model).in_use) if plain.amp else fallback
    return CapturedStep(lowered, fallback, device, note)


def _optimizer(model: nn.Module, settings: TrainSettings, *, fused: bool) -> SGD:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise UnsupportedModelError("expected a model with trainable parameters, got none")
    return SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
        fused=fused or None,
    )
