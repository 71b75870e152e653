"""One plain training loop with its learning-rate schedules, metrics and resumable checkpoints."""

from slimprune.training.batches import count_batches
from slimprune.training.evaluation import evaluate
from slimprune.training.layout import channels_last, lay_channels_last
from slimprune.training.loop import train
from slimprune.training.losses import AUTO, LOSSES, Loss, Task, find_loss
from slimprune.training.masks import foreground_logits, plain_mask
from slimprune.training.metrics import Metric, mean_iou, top1
from slimprune.training.recording import record
from slimprune.training.result import EpochRecord, Progress, TrainResult
from slimprune.training.settings import TrainSettings, choose_device
from slimprune.training.way import make_way

__all__ = [
    "AUTO",
    "LOSSES",
    "EpochRecord",
    "Loss",
    "Metric",
    "Progress",
    "Task",
    "TrainResult",
    "TrainSettings",
    "channels_last",
    "choose_device",
    "count_batches",
    "evaluate",
    "find_loss",
    "foreground_logits",
    "lay_channels_last",
    "make_way",
    "mean_iou",
    "plain_mask",
    "record",
    "top1",
    "train",
]
