"""Metrics of trained networks: sums over batches whose ratio is in [0, 1]."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.training.masks import foreground_logits, plain_mask


@dataclass(frozen=True)
class Metric:
    """A mean of ratios, each computed over all batches at once; larger is better.

    Attributes:
        name: Name in reports.
        count: Function (output, target) of one batch -> (numerators, denominators), both 1-D int64 of equal length.
    """

    name: str
    count: Callable[[Any, Any], tuple[Tensor, Tensor]]

    def __call__(self, output: Any, target: Any) -> tuple[Tensor, Tensor]:
        """Return numerators and denominators of one batch."""
        return self.count(output, target)

    def value(self, numerators: Tensor, denominators: Tensor) -> float:
        """Return the mean of numerators / denominators over the entries whose denominator is not zero.

        Raises:
            DataError: If every denominator is zero, which means that nothing was counted.
        """
        seen = denominators > 0
        if not bool(seen.any()):
            raise DataError(f"expected targets that {self.name} can count, got none")
        return float((numerators[seen].cpu().double() / denominators[seen].cpu().double()).mean())


def _one_tensor(output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(f"expected the model to return one tensor, got {type(output).__name__}")
    return output


def _count_top1(output: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    """Count correct predictions: logits [N, K] and class indices [N] -> ([correct], [N])."""
    output = _one_tensor(output)
    if output.ndim != 2 or target.shape != output.shape[:1]:
        shapes = f"{list(output.shape)} and {list(target.shape)}"
        raise UnsupportedModelError(f"expected an output [N, K] and targets [N] for top1, got {shapes}")
    certain = output.isfinite().all(dim=1)  # logits with nan or inf make no prediction
    correct = (certain & (output.argmax(dim=1) == target)).sum().reshape(1)
    return correct, correct.new_full((1,), target.numel())


def _count_iou(output: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    """Count the pixels in intersection and union from logits (see `foreground_logits`) and masks of 0 and 1.

    The first entry of each result is for the background, the second for the foreground.
    """
    predicted, true = foreground_logits(_one_tensor(output), target) > 0, plain_mask(target) > 0.5
    both, either = (predicted & true).sum(), (predicted | true).sum()
    pixels = true.numel()
    return torch.stack([pixels - either, both]), torch.stack([pixels - both, either])


top1 = Metric("top1", _count_top1)
"""Fraction of samples whose largest logit is that of the target class."""

mean_iou = Metric("miou", _count_iou)
"""Intersection over union of binary masks, averaged over background and foreground."""
