"""Training loop with learning-rate schedules, metrics and resumable checkpoints."""

from slimprune.training.batches import count_batches, set_epoch
from slimprune.training.branching import BranchedBatches, between, distance
from slimprune.training.cuda_graphs import capture
from slimprune.training.data_parallel import BY_ITSELF, AcrossRanks
from slimprune.training.evaluation import evaluate
from slimprune.training.event_log import check_event_log
from slimprune.training.loop import train
from slimprune.training.masks import foreground_logits, plain_mask
from slimprune.training.memory_format import channels_last, to_channels_last
from slimprune.training.metrics import AnyMetric, Metric, mean_iou, top1
from slimprune.training.mixing import mixing_of
from slimprune.training.objective import balanced_weights, training_loss
from slimprune.training.penalties import Penalty, batch_norm_l1, polarization
from slimprune.training.result import EpochRecord, FurtherMetric, TrainResult
from slimprune.training.settings import TrainSettings, choose_device
from slimprune.training.sparsity import HeldWeights
from slimprune.training.strategy import make_execution
from slimprune.training.torch_metrics import TorchMetric, as_metric

__all__ = [
    "BY_ITSELF",
    "AcrossRanks",
    "AnyMetric",
    "BranchedBatches",
    "EpochRecord",
    "FurtherMetric",
    "HeldWeights",
    "Metric",
    "Penalty",
    "TorchMetric",
    "TrainResult",
    "TrainSettings",
    "as_metric",
    "balanced_weights",
    "batch_norm_l1",
    "between",
    "capture",
    "channels_last",
    "check_event_log",
    "choose_device",
    "count_batches",
    "distance",
    "evaluate",
    "foreground_logits",
    "make_execution",
    "mean_iou",
    "mixing_of",
    "plain_mask",
    "polarization",
    "set_epoch",
    "to_channels_last",
    "top1",
    "train",
    "training_loss",
]
