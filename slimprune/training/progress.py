"""Progress reports of a training to a listener."""

from slimprune.training.metrics import AnyMetric
from slimprune.training.result import EpochRecord
from slimprune.types import Listener

STAGE = "train"


class TrainProgress:
    """Reports of the steps done, with the epoch, its metric and remarks in the note.

    The last step of an epoch is reported after the epoch has been tested and stored.

    Args:
        listener: Receiver of the reports.
        metric: The metric.
        epochs: Number of epochs.
        steps_per_epoch: Number of steps in each epoch.
    """

    def __init__(self, listener: Listener, metric: AnyMetric, epochs: int, steps_per_epoch: int) -> None:
        self._listener, self._metric = listener, metric
        self._steps_per_epoch, self._total = steps_per_epoch, epochs * steps_per_epoch
        self._measured, self._remarks = "", ""

    def step(self, epoch: int, step: int) -> None:
        """Report a step; both numbers start at 1."""
        if step < self._steps_per_epoch:
            self._tell(epoch, step)

    def epoch(self, record: EpochRecord) -> None:
        """Report a finished epoch."""
        self._measured = f", {self._metric.name} {self._metric.scale.shown(record.test_metric)}"
        self._tell(record.epoch, self._steps_per_epoch)

    def stopped(self, record: EpochRecord) -> None:
        """Report that this epoch was the last one, before all epochs were done."""
        self.remark("stopped: the training loss falls no further")
        self.ended(record)

    def ended(self, record: EpochRecord) -> None:
        """Report that the training goes no further here."""
        self._listener(STAGE, self._total, self._total, f"epoch {record.epoch}{self._measured}{self._remarks}")

    def remark(self, line: str) -> None:
        """Add a line to all later notes, for instance why training cannot use fast execution."""
        self._remarks += f", {line}"

    def _tell(self, epoch: int, step: int) -> None:
        done = (epoch - 1) * self._steps_per_epoch + step
        self._listener(STAGE, done, self._total, f"epoch {epoch}{self._measured}{self._remarks}")
