"""Results of training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        lr: Learning rate of the epoch's last step.
        train_loss: Mean over the epoch's training samples, each evaluated with the weights of its own step.
        test_metric: Metric after the epoch on the validation batches if there are any, else on the test batches, in
            [0, 1].
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
        final: Metric on the test batches after the last epoch, in [0, 1].
        best: Largest metric of the history, in [0, 1]; optimistic, because it is selected on the same batches.
        epochs: Number of epochs trained, including those before a resumption; fewer than requested if training stopped
            early.
        seconds: Total wall-clock time of the epochs.
        history: One record per epoch.
        validation: Metric on the validation batches after the last epoch, in [0, 1]; None if there are none.
    """

    metric: str
    final: float
    best: float
    epochs: int
    seconds: float
    history: tuple[EpochRecord, ...]
    validation: float | None = None

    @classmethod
    def of(cls, metric: str, history: Sequence[EpochRecord], final: float | None = None) -> "TrainResult":
        """Summarise a history of at least one epoch; with validation batches `final` is the metric on the test ones."""
        values = [record.test_metric for record in history]
        seconds = sum(record.seconds for record in history)
        result = cls(metric, values[-1], max(values), len(history), seconds, tuple(history))
        return result if final is None else replace(result, final=final, validation=values[-1])
