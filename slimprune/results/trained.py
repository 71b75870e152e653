"""What networks are judged by, and what their trainings gave."""

from dataclasses import dataclass

from slimprune.files import FurtherOutcome, MetricOutcome, TrainingOutcome
from slimprune.scale import Scale
from slimprune.training import TrainResult


@dataclass(frozen=True)
class Judged:
    """What networks are trained for and judged by.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        scale: How values of the metric are read.
        reads: How an output is read; see `slimprune.tasks.Task`.
    """

    task: str
    metric: str
    scale: Scale
    reads: str = "other"

    def to_json(self) -> MetricOutcome:
        """Return the plain form for JSON."""
        return {
            "task": self.task,
            "reads": self.reads,
            "name": self.metric,
            "unit": self.scale.unit,
            "higher_is_better": self.scale.higher_is_better,
        }


def training_to_json(result: TrainResult) -> TrainingOutcome:
    """Return the outcome of a training in plain form."""
    training: TrainingOutcome = {
        "epochs": result.epochs,
        "best": result.best,
        "final": result.final,
        "seconds": result.seconds,
        "history": {
            "epoch": [record.epoch for record in result.history],
            "lr": [record.lr for record in result.history],
            "train_loss": [record.train_loss for record in result.history],
            "test_metric": [record.test_metric for record in result.history],
        },
    }
    if result.validation is not None:
        training["validation"] = result.validation
    if result.further:
        training["further"] = further_to_json(result)
    if result.metric == "top1":
        return {**training, "top1": result.final}
    return {**training, "miou": result.final} if result.metric == "miou" else training


def further_to_json(result: TrainResult) -> list[FurtherOutcome]:
    """Return the further metrics of a training in plain form."""
    return [
        {
            "name": one.name,
            "unit": one.scale.unit,
            "higher_is_better": one.scale.higher_is_better,
            "final": one.value,
        }
        for one in result.further
    ]
