"""Figures as readers see them."""

from slimprune.files import MetricPart, MetricRead
from slimprune.scale import MetricUnit, Scale

METRIC_NAMES = {
    "top1": "top-1", "top5": "top-5", "miou": "mean IoU", "map": "mAP", "rmse": "RMSE", "r2": "R2", "psnr": "PSNR",
    "ssim": "SSIM",
}  # fmt: skip


def scale_of(document: MetricPart) -> Scale:
    """Return how the metric of a report is read; reports of earlier versions have shares, of which more is better."""
    stated = document.get("metric")
    return Scale() if stated is None else Scale(stated["unit"], stated["higher_is_better"])


def scale_of_metric(found: MetricRead) -> Scale:
    """Return how the metric of a comparison or of one of its cells is read."""
    return Scale(found.get("unit", "%"), found.get("higher_is_better", True))


def titled(name: str, scale: Scale) -> str:
    """Return a metric's name as readers know it, with the direction where lower values are better."""
    return scale.titled(METRIC_NAMES.get(name, name))


def axis_title(title: str, unit: MetricUnit) -> str:
    """Return the title of an axis or a column with the unit of its numbers."""
    return f"{title}, {unit}" if unit else title


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.2f} %"


def byte_size(count: int) -> str:
    """Return a number of bytes with a unit."""
    power = 1 if count < 1e6 else 2 if count < 1e9 else 3
    return f"{count / 1000**power:.1f} {' kMG'[power]}B"
