"""Results of training."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        lr: Learning rate of the epoch's last step.
        train_loss: Mean over the epoch's training samples, each evaluated with the weights of its own step.
        test_metric: Metric on the test batches after the epoch, in [0, 1].
        seconds: Wall-clock time of the epoch's training and test pass.
    """

    epoch: int
    lr: float
    train_loss: float
    test_metric: float
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes:
        metric: Name of the metric.
        final: Metric after the last epoch, in [0, 1].
        best: Largest metric after any epoch, in [0, 1]; optimistic, because it is selected on the test batches.
        epochs: Number of epochs trained, including those before a resumption; fewer than requested if training stopped
            early.
        seconds: Total wall-clock time of the epochs.
        history: One record per epoch.
    """

    metric: str
    final: float
    best: float
    epochs: int
    seconds: float
    history: tuple[EpochRecord, ...]

    @classmethod
    def of(cls, metric: str, history: Sequence[EpochRecord]) -> "TrainResult":
        """Summarise a history of at least one epoch."""
        values = [record.test_metric for record in history]
        seconds = sum(record.seconds for record in history)
        return cls(metric, values[-1], max(values), len(history), seconds, tuple(history))
