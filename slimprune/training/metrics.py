"""Metrics of trained networks: what is collected over batches, and ratios of sums over all batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.scale import MetricUnit, Scale
from slimprune.training.distributed import sum_over_processes
from slimprune.training.masks import IGNORED, class_map, foreground_logits, plain_mask


class Tally(Protocol):
    """What a metric collects over the batches of one test."""

    def add(self, output: Any, target: Any) -> None:
        """Add the output and the targets of one batch."""

    def value(self, *, together: bool) -> float:
        """Return the metric of all batches, and of those of all other processes if they are `together`."""


class AnyMetric(Protocol):
    """A metric: `Metric` for ratios of sums, `TorchMetric` for those of torchmetrics."""

    @property
    def name(self) -> str:
        """Name in reports."""

    @property
    def scale(self) -> Scale:
        """How its values are read."""

    def start(self) -> Tally:
        """Return an empty tally."""


@dataclass(frozen=True)
class Metric:
    """A mean of ratios, each computed over all batches at once.

    Attributes:
        name: Name in reports.
        count: Function (output, target) of one batch -> (numerators, denominators), both 1-D of equal length.
        unit: "%" for a share in [0, 1], which reports show in percent; "" for a plain number, or "dB".
        higher_is_better: Whether larger values are better.
    """

    name: str
    count: Callable[[Any, Any], tuple[Tensor, Tensor]]
    unit: MetricUnit = "%"
    higher_is_better: bool = True

    @property
    def scale(self) -> Scale:
        """How its values are read."""
        return Scale(self.unit, self.higher_is_better)

    def start(self) -> Tally:
        """Return empty sums."""
        return _Sums(self)

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


@dataclass(eq=False)
class _Sums:
    """Sums of the numerators and denominators of a metric."""

    metric: Metric
    totals: tuple[Tensor, Tensor] | None = None

    def add(self, output: Any, target: Any) -> None:
        """Add the counts of one batch."""
        counts = self.metric(output, target)
        self.totals = counts if self.totals is None else (self.totals[0] + counts[0], self.totals[1] + counts[1])

    def value(self, *, together: bool) -> float:
        """Return the metric of all batches."""
        if self.totals is None:
            raise DataError("expected at least one test batch, got none")
        numerators, denominators = (sum_over_processes(total) if together else total for total in self.totals)
        return self.metric.value(numerators, denominators)


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


def _count_top5(output: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    """Count samples whose class is among the five largest logits [N, K], or among all K if they are fewer."""
    _count_top1(output, target)
    best = output.topk(min(5, output.shape[1]), dim=1).indices
    certain = output.isfinite().all(dim=1)
    correct = (certain & (best == target[:, None]).any(dim=1)).sum().reshape(1)
    return correct, correct.new_full((1,), target.numel())


def _count_signs(output: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    """Count logits [N] or [N, 1] whose sign is that of the target, 0 or 1."""
    logits, true = _one_tensor(output).flatten(), target.flatten() > 0.5
    if logits.shape != true.shape:
        raise UnsupportedModelError(f"expected one logit per target, got {list(output.shape)} for {list(target.shape)}")
    correct = (logits.isfinite() & ((logits > 0) == true)).sum().reshape(1)
    return correct, correct.new_full((1,), true.numel())


def _count_class_iou(output: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    """Count the pixels in intersection and union of each class: logits [N, K, H, W], classes [N, H, W] -> [K], [K].

    Pixels that are to be ignored (see `class_map`) belong to no union.
    """
    output, target = _one_tensor(output), class_map(output, target)
    classes, judged = output.shape[1], target != IGNORED
    predicted, true = output.argmax(dim=1)[judged], target[judged]
    both = torch.bincount(true[predicted == true], minlength=classes)
    either = torch.bincount(true, minlength=classes) + torch.bincount(predicted, minlength=classes) - both
    return both, either


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

top5 = Metric("top5", _count_top5)
"""Fraction of samples whose class is among those of the five largest logits."""

binary_accuracy = Metric("accuracy", _count_signs)
"""Fraction of samples whose one logit has the sign of its target."""

class_iou = Metric("miou", _count_class_iou)
"""Intersection over union of every class, averaged over the classes that occur in targets or predictions."""
