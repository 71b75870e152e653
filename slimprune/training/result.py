"""Results of training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slimprune.scale import SHARES, Scale
from slimprune.training.metrics import AnyMetric


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        lr: Learning rate of the epoch's last step.
        train_loss: Mean over the epoch's training samples, each evaluated with the weights of its own step.
        test_metric: Metric after the epoch on the validation batches if there are any, else on the test batches.
        seconds: Wall-clock time of the epoch's training and test pass.
    """

    epoch: int
    lr: float
    train_loss: float
    test_metric: float
    seconds: float


@dataclass(frozen=True)
class FurtherMetric:
    """A metric beside the one that networks are judged by.

    Attributes:
        name: Name of the metric.
        value: Its value on the test batches after the last epoch.
        scale: How its values are read.
    """

    name: str
    value: float
    scale: Scale


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes:
        metric: Name of the metric.
        final: Metric on the test batches after the last epoch.
        best: Best metric of the history; optimistic, because it is selected on the same batches.
        epochs: Number of epochs trained, including those before a resumption; fewer than requested if training stopped
            early.
        seconds: Total wall-clock time of the epochs.
        history: One record per epoch.
        validation: Metric on the validation batches after the last epoch; None if there are none.
        scale: How values of the metric are read.
        further: Further metrics on the test batches after the last epoch.
    """

    metric: str
    final: float
    best: float
    epochs: int
    seconds: float
    history: tuple[EpochRecord, ...]
    validation: float | None = None
    scale: Scale = SHARES
    further: tuple[FurtherMetric, ...] = ()

    @classmethod
    def of(
        cls,
        metric: AnyMetric,
        history: Sequence[EpochRecord],
        final: float | None = None,
        further: tuple[FurtherMetric, ...] = (),
    ) -> "TrainResult":
        """Summarise a history of at least one epoch; with validation batches `final` is the metric on the test ones."""
        values = [record.test_metric for record in history]
        seconds = sum(record.seconds for record in history)
        best = metric.scale.best(values)
        result = cls(metric.name, values[-1], best, len(history), seconds, tuple(history), scale=metric.scale)
        result = replace(result, further=further)
        return result if final is None else replace(result, final=final, validation=values[-1])
