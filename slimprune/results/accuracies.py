"""The metric of networks with trained weights, between pruning and fine-tuning."""

from dataclasses import dataclass

from slimprune.files import AccuraciesOutcome, RoundOutcome, adapter


@dataclass(frozen=True)
class Accuracies:
    """The metric of networks with trained weights before the slim one is fine-tuned, in [0, 1].

    Attributes:
        metric: Name of the metric.
        dense: Dense network with its trained weights.
        pruned: Slim network just after the removal, with batch norm statistics estimated again; None if it does not
            inherit the trained weights.
        reconstructed: Slim network after the layers behind removed channels were solved anew; None if they were not.
        solved: Number of layers that have new weights.
        left_out: Number of layers behind removed channels that keep their weights, because the new ones would not be
            better or cannot be computed.
    """

    metric: str
    dense: float
    pruned: float | None = None
    reconstructed: float | None = None
    solved: int = 0
    left_out: int = 0

    def to_json(self) -> AccuraciesOutcome:
        """Return the plain form for JSON."""
        plain: AccuraciesOutcome = adapter(Accuracies).dump_python(self, mode="json")
        return plain


@dataclass(frozen=True)
class Round:
    """One round of pruning and fine-tuning.

    Attributes:
        removed: Share of the budgeted quantity of the dense network that is gone after it.
        pruned: Metric just after the removal, in [0, 1], with batch norm statistics estimated again.
        reconstructed: Metric after the layers behind removed channels were solved anew; None if they were not.
        epochs: Epochs of fine-tuning.
        fine_tuned: Metric after them.
    """

    removed: float
    pruned: float | None
    reconstructed: float | None
    epochs: int
    fine_tuned: float

    def to_json(self) -> RoundOutcome:
        """Return the plain form for JSON."""
        plain: RoundOutcome = adapter(Round).dump_python(self, mode="json")
        return plain
