"""What was measured for a plan: on which machine, which rounding was chosen, which networks were timed."""

from dataclasses import dataclass

from slimprune.files import LatencyRow, PlanTiming, adapter


@dataclass(frozen=True)
class Candidate:
    """A rounding of the widths that was considered.

    Attributes:
        round_to: widths are multiples of it.
        macs: that its plan keeps.
        latency: of its plan by the model, nanoseconds for one batch.
    """

    round_to: int
    macs: int
    latency: int


@dataclass(frozen=True)
class Rounding:
    """The rounding that was chosen by measured times.

    Attributes:
        round_to: widths are multiples of it.
        reason: why, as a sentence.
        candidates: all that can meet the budget.
    """

    round_to: int
    reason: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class TimedNetwork:
    """A slim network that was timed as a whole beside the dense one.

    Attributes:
        predicted: share of the dense latency that the model expected to be gone.
        row: what was measured, in the form of the rows of `bench`.
    """

    predicted: float
    row: LatencyRow

    @property
    def removed(self) -> float:
        """Share of the dense latency that was gone."""
        return 1 - 1 / self.row["speedup"]

    @property
    def interval(self) -> tuple[float, float]:
        """Of `removed`."""
        low, high = self.row["interval"]
        return 1 - 1 / low, 1 - 1 / high


@dataclass(frozen=True)
class LatencyRecord:
    """What a plan owes to the machine on which it was made.

    Attributes:
        engine: what ran the layers and networks.
        version: of the engine.
        device: on which it ran.
        threads: of one operator on the CPU.
        batch: samples at once.
        rounding: how the rounding was chosen, where that was asked for.
        trials: the plans that were timed as a whole, in order.
        chosen: number of the plan's own trial; None where the budget is not one of latency.
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
        """Plain form for JSON."""
        plain: PlanTiming = adapter(LatencyRecord).dump_python(self, mode="json")
        return plain
