"""One plain training loop with its learning-rate schedules, metrics and resumable checkpoints."""

from slimprune.training.batches import count_batches
from slimprune.training.evaluation import evaluate
from slimprune.training.loop import train
from slimprune.training.metrics import Metric, mean_iou, top1
from slimprune.training.result import EpochRecord, Progress, TrainResult
from slimprune.training.settings import TrainSettings, choose_device

__all__ = [
    "EpochRecord",
    "Metric",
    "Progress",
    "TrainResult",
    "TrainSettings",
    "choose_device",
    "count_batches",
    "evaluate",
    "mean_iou",
    "top1",
    "train",
]
