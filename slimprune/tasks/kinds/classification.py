"""Classification: one class among K, yes or no, or several labels at once."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.tasks.registry import register
from slimprune.tasks.task import Task
from slimprune.training.losses import label_cross_entropy, matching
from slimprune.training.metrics import binary_accuracy, top1, top5
from slimprune.training.torch_metrics import mean_average_precision


def _one_per_class(classes: int, height: int, width: int) -> Sequence[tuple[int, ...]]:
    return [(classes,)]


def _one_logit(classes: int, height: int, width: int) -> Sequence[tuple[int, ...]]:
    return [(1,)]


def _check_yes_or_no(output: Any, target: Any) -> None:
    """Check one logit per sample and targets of 0 and 1."""
    if not isinstance(output, Tensor) or output.numel() != len(output):
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UnsupportedModelError(f"expected one logit per sample, got {found}")
    matching(output, target)
    _check_zeros_and_ones(target)


def _check_labels(output: Any, target: Any) -> None:
    """Check a logit per label, and targets of 0 and 1 of the same shape [N, K]."""
    if not isinstance(output, Tensor) or output.ndim != 2:
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UnsupportedModelError(f"expected an output [N, K] with a logit per label, got {found}")
    matching(output, target)
    _check_zeros_and_ones(target)


def _check_zeros_and_ones(target: Tensor) -> None:
    wrong = target[(target != 0) & (target != 1)]
    if len(wrong):
        raise DataError(f"expected targets of 0 and 1, got {float(wrong[0]):g}")


register(
    Task(
        "classification",
        "one class among K: cross-entropy; top1 or top5",
        {"cross-entropy": F.cross_entropy},
        {"top1": top1, "top5": top5},
        reads="classes",
        shapes=_one_per_class,
    )
)
register(
    Task(
        "binary",
        "yes or no, by one logit: binary cross-entropy; accuracy",
        {"bce": label_cross_entropy},
        {"accuracy": binary_accuracy},
        reads="logit",
        check=_check_yes_or_no,
        shapes=_one_logit,
    )
)
register(
    Task(
        "multi-label",
        "labels that may occur together, targets of 0 and 1: binary cross-entropy; mean average precision",
        {"bce": label_cross_entropy},
        {"map": mean_average_precision},
        reads="labels",
        check=_check_labels,
        shapes=_one_per_class,
    )
)
