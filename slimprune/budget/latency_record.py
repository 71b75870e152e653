"""What was measured for a plan: the machine, the rounding that was chosen, and the networks that were timed."""

from dataclasses import dataclass

from slimprune.files import LatencyRow, PlanTiming, adapter, latency_removed


@dataclass(frozen=True)
class Candidate:
    """A rounding of the widths that was considered.

    Attributes:
        round_to: Number of which the widths are multiples.
        macs: MACs that its plan keeps.
        latency: Latency of its plan as predicted by the model, in nanoseconds per batch.
    """

    round_to: int
    macs: int
    latency: int


@dataclass(frozen=True)
class Rounding:
    """The rounding that was chosen by measured times.

    Attributes:
        round_to: Number of which the widths are multiples.
        reason: Reason for the choice, as a sentence.
        candidates: All roundings that can meet the budget.
    """

    round_to: int
    reason: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class TimedNetwork:
    """A slim network that was timed as a whole side by side with the dense one.

    Attributes:
        predicted: Share of the dense latency that the model expected to save.
        row: Measurement in the form of the rows of `bench`.
    """

    predicted: float
    row: LatencyRow

    @property
    def removed(self) -> float:
        """Share of the dense latency that was saved."""
        return latency_removed(self.row["speedup"])

    @property
    def interval(self) -> tuple[float, float]:
        """Confidence interval of `removed`."""
        low, high = self.row["interval"]
        return latency_removed(low), latency_removed(high)


@dataclass(frozen=True)
class LatencyRecord:
    """The machine for which a plan was made, and what was measured on it.

    Attributes:
        engine: Engine that ran the layers and networks.
        version: Version of the engine.
        device: Device that the engine used.
        threads: Number of threads per operator on the CPU.
        batch: Number of samples per batch.
        rounding: How the rounding was chosen, if it was chosen by measurement.
        trials: Networks that were timed as a whole, in order.
        chosen: Index in `trials` of the plan's own trial; None if the budget does not limit latency.
    """

    engine: str
    version: str
    device: str
    threads: int
    batch: int
    rounding: Rounding | None = None
    trials: tuple[TimedNetwork, ...] = ()
    chosen: int | None = None

    @property
    def trial(self) -> TimedNetwork | None:
        """The plan's own trial."""
        return None if self.chosen is None else self.trials[self.chosen]

    def to_json(self) -> PlanTiming:
        """Return a plain form for JSON."""
        plain: PlanTiming = adapter(LatencyRecord).dump_python(self, mode="json")
        return plain
