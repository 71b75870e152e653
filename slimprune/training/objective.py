"""The loss of training: the plain loss with label smoothing and class weights."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from slimprune.errors import DataError, UsageError
from slimprune.forward import Loss
from slimprune.training.losses import binary_cross_entropy, cross_entropy_and_dice, pixel_cross_entropy, soft_dice
from slimprune.training.settings import TrainSettings


def training_loss(loss: Loss, settings: TrainSettings, device: torch.device) -> Loss:
    """Return the loss with the label smoothing and the class weights of the settings.

    Args:
        loss: Plain loss; one of those of `slimprune.tasks` if the settings change it.
        settings: Training settings.
        device: Device of the outputs.

    Raises:
        UsageError: If the settings cannot change this loss, or a mask has more than one weight.
    """
    if not settings.label_smoothing and not settings.class_weights:
        return loss
    weights = torch.tensor(settings.class_weights, device=device) if settings.class_weights else None
    if loss is F.cross_entropy:
        return partial(_cross_entropy, weights, settings.label_smoothing)
    if loss is pixel_cross_entropy and not settings.label_smoothing:
        return partial(_pixel_cross_entropy, weights)
    if settings.label_smoothing:
        raise UsageError(f"expected the loss cross-entropy with label_smoothing, got {_name(loss)}")
    if loss not in (binary_cross_entropy, cross_entropy_and_dice) or weights is None:
        raise UsageError(f"expected a loss with a cross-entropy for class_weights, got {_name(loss)}")
    if len(weights) != 1:
        raise UsageError(f"expected one number in class_weights, the weight of the foreground, got {len(weights)}")
    weighted = partial(binary_cross_entropy, weight=weights)
    return weighted if loss is binary_cross_entropy else partial(_and_dice, weighted)


def balanced_weights(counts: Tensor) -> tuple[float, ...]:
    """Return weights in inverse proportion to the counts: total / (K * count), whose mean over all samples is 1.

    Args:
        counts: Number of training samples of each class, [K].

    Raises:
        DataError: If a class has no sample.
    """
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        rule = "expected training samples of every class for balanced class_weights"
        raise DataError(f"{rule}, got none of class {missing[0]}")
    weights: list[float] = (counts.sum() / (len(counts) * counts.double())).tolist()
    return tuple(weights)


def _cross_entropy(weights: Tensor | None, smoothing: float, output: Any, target: Any) -> Tensor:
    if weights is not None and len(weights) != output.shape[1]:
        raise UsageError(f"expected one number per class in class_weights ({output.shape[1]}), got {len(weights)}")
    weights = None if weights is None else weights.to(output.dtype)
    return F.cross_entropy(output, target, weight=weights, label_smoothing=smoothing)


def _pixel_cross_entropy(weights: Tensor | None, output: Any, target: Any) -> Tensor:
    if weights is not None and len(weights) != output.shape[1]:
        raise UsageError(f"expected one number per class in class_weights ({output.shape[1]}), got {len(weights)}")
    return pixel_cross_entropy(output, target, weights)


def _and_dice(weighted: Loss, output: Any, target: Any) -> Tensor:
    return weighted(output, target) + soft_dice(output, target)


def _name(loss: Loss) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))
