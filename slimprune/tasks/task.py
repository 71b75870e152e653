"""A task: the losses and metrics among which a run chooses, and how outputs and targets look."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from slimprune.errors import UsageError, did_you_mean
from slimprune.forward import Loss
from slimprune.training.metrics import AnyMetric
from slimprune.types import AUTO

Reading = Literal["classes", "logit", "labels", "values", "mask", "class map", "image", "boxes", "other"]
"""How an output is read: as logits of one class among K, one logit of yes or no, logits of labels that may occur
together, numbers, logits of a mask, logits [K, H, W] of the classes of pixels, an image, boxes with scores [A, 4 + K],
or not at all."""

OWN = "own"
"""Name of the task of a run whose loss and metric are the user's."""

Part = TypeVar("Part")


def accept(output: Any, target: Any) -> None:
    """Accept every output and target."""


def no_shapes(classes: int, height: int, width: int) -> Sequence[tuple[int, ...]]:
    """Return no shapes, which means that every output of named data is accepted."""
    return ()


@dataclass(frozen=True)
class Task:
    """What a network is trained for.

    Attributes:
        name: Name that the user gives.
        description: One line for users.
        losses: Losses by name, the default one first.
        metrics: Metrics by name, the default one first.
        reads: How an output is read, by `predict` and by checks that need logits.
        check: Function (output, targets) of a batch that raises `SlimpruneError` if they do not fit the task.
        shapes: Function (classes, height, width) of named data -> shapes that an output may have beside the batch
            dimension; empty if every shape may be.
        data: Task of the named data that it is for; "" for its own name.
        dense: Whether there is an output for every pixel, so that the training has the defaults of segmentation.
        takes_batches: Whether networks, losses and metrics take whole batches (images, targets) in place of images and
            of targets, because a network computes its loss itself.
    """

    name: str
    description: str
    losses: Mapping[str, Loss]
    metrics: Mapping[str, AnyMetric]
    reads: Reading = "other"
    check: Callable[[Any, Any], None] = field(default=accept)
    shapes: Callable[[int, int, int], Sequence[tuple[int, ...]]] = field(default=no_shapes)
    data: str = ""
    dense: bool = False
    takes_batches: bool = False

    @property
    def of_data(self) -> str:
        """Task of the named data that it is for."""
        return self.data or self.name

    @property
    def has_logits(self) -> bool:
        """Whether the outputs are logits, whose probabilities can be imitated."""
        return self.reads in ("classes", "logit", "mask", "class map")

    def loss(self, name: str = AUTO) -> Loss:
        """Return the loss of that name, or the default for `auto`.

        Raises:
            UsageError: If the task has no such loss.
        """
        return _named(self.losses, name, f"a loss for {self.name}")

    def metric(self, name: str = AUTO) -> AnyMetric:
        """Return the metric of that name, or the default for `auto`.

        Raises:
            UsageError: If the task has no such metric.
        """
        return _named(self.metrics, name, f"a metric for {self.name}")


def _named(parts: Mapping[str, Part], name: str, what: str) -> Part:
    if name == AUTO and parts:
        return next(iter(parts.values()))
    if name not in parts:
        listed = [AUTO, *parts]
        raise UsageError(f"expected {what} ({', '.join(listed)}), got {name!r}{did_you_mean(name, listed)}")
    return parts[name]
