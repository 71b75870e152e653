"""Regression: one or several numbers per sample."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.tasks.registry import register
from slimprune.tasks.task import Task
from slimprune.training.losses import absolute_error, huber, matching, squared_error
from slimprune.training.torch_metrics import r2, rmse


def _one_per_value(values: int, height: int, width: int) -> Sequence[tuple[int, ...]]:
    return [(values,)]


def check_values(output: Any, target: Any) -> None:
    """Check an output and finite numbers of one shape, [N] or [N, K]."""
    for what, part in (("output", output), ("targets", target)):
        if not isinstance(part, Tensor):
            raise UnsupportedModelError(f"expected {what} of one tensor, got {type(part).__name__}")
    matching(output, target)
    if not target.is_floating_point():
        raise DataError(f"expected targets that are floating-point numbers, got {target.dtype}")
    if not bool(target.isfinite().all()):
        raise DataError("expected finite targets, got nan or inf")


register(
    Task(
        "regression",
        "numbers: mean squared, absolute (l1) or Huber loss; root mean squared error or R2",
        {"mse": squared_error, "l1": absolute_error, "huber": huber},
        {"rmse": rmse, "r2": r2},
        reads="values",
        check=check_values,
        shapes=_one_per_value,
    )
)
