"""TensorBoard event files of a training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from slimprune.errors import UsageError, kind_and_line
from slimprune.training.result import EpochRecord


def check_event_log() -> None:
    """Check that event files can be written.

    Raises:
        UsageError: If the package `tensorboard` is not installed.
    """
    if find_spec("tensorboard") is None:
        raise UsageError("expected the package tensorboard for --log (pip install 'slimprune[tensorboard]'), got none")


@contextmanager
def event_log(folder: Path | None, metric: str) -> Iterator[Callable[[EpochRecord], None]]:
    """Yield a function that writes an epoch's training loss, learning rate and test metric as TensorBoard events.

    Events of an earlier training in the folder are hidden from TensorBoard.

    Args:
        folder: Folder of the event files, which is created; None to write nothing.
        metric: Name of the metric.

    Raises:
        UsageError: If `tensorboard` is not installed or the folder cannot be written to.
    """
    if folder is None:
        yield lambda record: None
        return
    check_event_log()
    from torch.utils.tensorboard import SummaryWriter  # imports a package that is optional

    try:
        writer = SummaryWriter(str(folder), purge_step=1)
    except OSError as error:
        raise UsageError(f"expected a folder for --log that can be written to, got {kind_and_line(error)}") from error

    def write(record: EpochRecord) -> None:
        values = {"train/loss": record.train_loss, "train/lr": record.lr, f"test/{metric}": record.test_metric}
        for name, value in values.items():
            writer.add_scalar(name, value, record.epoch)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
