"""Metrics of torchmetrics, under the interface of all metrics."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from slimprune.errors import DataError, UsageError, first_line
from slimprune.scale import MetricUnit, Scale
from slimprune.training.metrics import AnyMetric, Metric, Tally

MOST_DECIBELS = 100.0
"""Value in place of an infinite one, such as the peak signal-to-noise ratio of an output that equals its target."""


@dataclass(frozen=True)
class TorchMetric:
    """A metric that torchmetrics collects and computes.

    Attributes:
        name: Name in reports.
        make: Function (output, target) of the first batch -> a metric of torchmetrics without any data.
        read: Function (output, target) of a batch -> arguments of the metric's `update`.
        unit: "%" for a share in [0, 1], which reports show in percent; "" for a plain number, or "dB".
        higher_is_better: Whether larger values are better.
        pick: Function of what the metric computes -> one number.
    """

    name: str
    make: Callable[[Any, Any], Any]
    read: Callable[[Any, Any], tuple[Any, ...]] = lambda output, target: (output, target)
    unit: MetricUnit = "%"
    higher_is_better: bool = True
    pick: Callable[[Any], Any] = lambda computed: computed

    @property
    def scale(self) -> Scale:
        """How its values are read."""
        return Scale(self.unit, self.higher_is_better)

    def start(self) -> Tally:
        """Return an empty tally."""
        return _Collected(self)


@dataclass(eq=False)
class _Collected:
    """A metric of torchmetrics that is made at the first batch, on the device of its output."""

    metric: TorchMetric
    inner: Any = None

    def add(self, output: Any, target: Any) -> None:
        """Add the output and the targets of one batch."""
        # Some metrics of torchmetrics view their arguments, which fails on slices of larger tensors.
        arguments = tree_map_only(Tensor, Tensor.contiguous, self.metric.read(output, target))
        if self.inner is None:
            made = self.metric.make(output, target)
            self.inner = made.to(output.device) if isinstance(output, Tensor) else made
        self.inner.update(*arguments)

    def value(self, *, together: bool) -> float:
        """Return the metric of all batches, a number.

        Raises:
            DataError: If there were no batches, or the metric is not defined for their targets.
        """
        if self.inner is None:
            raise DataError("expected at least one test batch, got none")
        self.inner.sync_on_compute = together
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for instance that a label has no positive sample, which is left out
            value = self.metric.pick(self.inner.compute())
        number = float(value) if torch.is_tensor(value) and value.numel() == 1 else value
        if not isinstance(number, float):
            raise UsageError(f"expected one number from metric {self.metric.name}, got {type(value).__name__}")
        if math.isnan(number):
            raise DataError(f"expected targets that {self.metric.name} can judge, got nan")
        return math.copysign(MOST_DECIBELS, number) if math.isinf(number) else number


def as_metric(metric: object) -> AnyMetric:
    """Return a metric as such: one of slimprune as it is, one of torchmetrics under its own name.

    Raises:
        UsageError: If it is neither, or does not say whether larger values are better.
    """
    if isinstance(metric, Metric | TorchMetric):
        return metric
    name = metric.__name__ if isinstance(metric, type | FunctionType) else type(metric).__name__
    if isinstance(metric, type) or not all(callable(getattr(metric, part, None)) for part in _PARTS):
        raise UsageError(
            f"expected a slimprune.Metric or a metric object of torchmetrics, got {name}: "
            "Metric(name, count) has a function (output, target) -> (numerators, denominators)"
        )
    better = getattr(metric, "higher_is_better", None)
    if better is None:
        raise UsageError(f"expected a metric whose higher_is_better is True or False, got None of {name}")
    cloned = _cloned(metric, name)
    return TorchMetric(name, lambda output, target: cloned(), unit="", higher_is_better=bool(better))


def _cloned(metric: Any, name: str) -> Callable[[], Any]:
    def fresh() -> Any:
        try:
            copied = metric.clone()
        except Exception as error:
            raise UsageError(f"expected a metric that can be copied, got {name}: {first_line(error)}") from error
        copied.reset()
        return copied

    return fresh


_PARTS = ("update", "compute", "reset", "clone")


def _torchmetrics(path: str, **options: Any) -> Any:
    """Return a new metric by its path in torchmetrics, which is imported only here because it takes a second."""
    from importlib import import_module

    module, _, name = path.rpartition(".")
    return cast(Any, getattr(import_module(f"torchmetrics.{module}" if module else "torchmetrics"), name)(**options))


def _rows(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and target as [N, values], in float32."""
    return output.float().reshape(len(output), -1), target.float().reshape(len(target), -1)


def _entries(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return output.float().flatten(), target.float().flatten()


def _labels(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return output.float(), target.long()


def _images(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return output.float().clamp(0, 1), target.float()


def _average_precision(output: Tensor, target: Tensor) -> Any:
    return _torchmetrics("classification.MultilabelAveragePrecision", num_labels=output.shape[1])


def _root_mean_square(output: Tensor, target: Tensor) -> Any:
    return _torchmetrics("MeanSquaredError", squared=False)


def _boxes(output: Any, batch: Any) -> tuple[Any, Any]:
    """Return detections and what is in the images, from a batch of images and boxes [N, M, 5] with -1 for no class."""
    present = [rows[rows[:, 0] >= 0] for rows in batch[1]]
    return output, [{"boxes": rows[:, 1:], "labels": rows[:, 0].long()} for rows in present]


def _precision_of_boxes(output: Any, batch: Any) -> Any:
    try:
        metric = _torchmetrics("detection.MeanAveragePrecision", box_format="xyxy", iou_type="bbox")
    except ImportError as error:
        raise UsageError(
            "expected the package pycocotools for the mean average precision of boxes, found none "
            "(pip install 'slimprune[detection]')"
        ) from error
    metric.warn_on_many_detections = False  # the best 100 count, as COCO defines it
    return metric


def _defined(computed: Any, name: str) -> Any:
    """Return a precision, or nan where torchmetrics says -1 because there are no boxes to find."""
    value = computed[name]
    return torch.where(value < 0, torch.nan, value)


box_precision = TorchMetric("map", _precision_of_boxes, _boxes, pick=lambda computed: _defined(computed, "map"))
"""Mean average precision of boxes over the classes and the overlaps 0.50, 0.55, ..., 0.95, as COCO defines it."""

box_precision_at_half = TorchMetric(
    "map50", _precision_of_boxes, _boxes, pick=lambda computed: _defined(computed, "map_50")
)
"""The same at an overlap of 0.5 alone."""

mean_average_precision = TorchMetric("map", _average_precision, _labels)
"""Area under the curve of precision over recall of every label, averaged over the labels with a positive sample."""

rmse = TorchMetric("rmse", _root_mean_square, _entries, unit="", higher_is_better=False)
"""Square root of the mean squared difference over all entries of all samples."""

r2 = TorchMetric("r2", lambda output, target: _torchmetrics("R2Score"), _rows, "")
"""Share of the targets' variance that the outputs explain, averaged over the values of a sample; 1 is perfect."""

psnr = TorchMetric(
    "psnr",
    lambda output, target: _torchmetrics(
        "image.PeakSignalNoiseRatio", data_range=1.0, dim=tuple(range(1, output.ndim)), reduction="elementwise_mean"
    ),
    _images,
    "dB",
)
"""Peak signal-to-noise ratio of every image of pixels in 0..1, averaged over the images."""

ssim = TorchMetric(
    "ssim", lambda output, target: _torchmetrics("image.StructuralSimilarityIndexMeasure", data_range=1.0), _images, ""
)
"""Structural similarity of images of pixels in 0..1 (Wang et al., 2004); 1 is equality."""
