"""What a listener hears of a training."""

from slimprune.training.result import EpochRecord
from slimprune.types import Listener

STAGE = "train"


class TrainProgress:
    """Tells a listener how many steps are done, with the epoch, its metric and remarks as the note.

    The last step of an epoch is told when the epoch has been tested and stored.

    Args:
        listener: Who is told.
        metric: Name of the metric.
        epochs: How many there are.
        steps_per_epoch: Steps of each.
    """

    def __init__(self, listener: Listener, metric: str, epochs: int, steps_per_epoch: int) -> None:
        self._listener, self._metric = listener, metric
        self._steps_per_epoch, self._total = steps_per_epoch, epochs * steps_per_epoch
        self._measured, self._remarks = "", ""

    def step(self, epoch: int, step: int) -> None:
        """Tell of a step, both numbers from 1."""
        if step < self._steps_per_epoch:
            self._tell(epoch, step)

    def epoch(self, record: EpochRecord) -> None:
        """Tell of a finished epoch."""
        self._measured = f", {self._metric} {100 * record.test_metric:.2f} %"
        self._tell(record.epoch, self._steps_per_epoch)

    def remark(self, line: str) -> None:
        """Keep a line for all notes to come: why training cannot go the fast way and goes a slower one."""
        self._remarks += f", {line}"

    def _tell(self, epoch: int, step: int) -> None:
        done = (epoch - 1) * self._steps_per_epoch + step
        self._listener(STAGE, done, self._total, f"epoch {epoch}{self._measured}{self._remarks}")
