"""Detection: boxes with classes."""

from slimprune.tasks.registry import register
from slimprune.tasks.task import Task
from slimprune.training.losses import sum_of_losses
from slimprune.training.torch_metrics import box_precision, box_precision_at_half

register(
    Task(
        "detection",
        "boxes with classes: the losses that the detector computes itself; mean average precision as COCO defines it",
        {"own": sum_of_losses},
        {"map": box_precision, "map50": box_precision_at_half},
        reads="boxes",
        takes_batches=True,
    )
)
