"""The difference of two rows of a comparison, paired by seed, with an interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from slimprune.statistics import FEWEST_SEEDS, Estimate, holm_confidences, holm_p_values, paired_difference

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Gap:
    """The difference between one row and another.

    Attributes:
        mean: Mean of the differences over the seeds that both rows have, in percentage points.
        seeds: Number of seeds.
        estimate: The mean with its error (Student's t, seeds as independent draws); None for too few seeds, or if all
            differences are equal.
        p_value: Probability of a mean at least as far from zero by chance, corrected if it is one of several; None
            without an estimate.
        confidence: Confidence of the interval, raised if it is one of several.
    """

    mean: float
    seeds: int
    estimate: Estimate | None = None
    p_value: float | None = None
    confidence: float = CONFIDENCE

    @property
    def low(self) -> float | None:
        """Lower end of the mean's interval; None for too few seeds."""
        return self._interval[0]

    @property
    def high(self) -> float | None:
        """Upper end of the interval; None for too few seeds."""
        return self._interval[1]

    def interval_text(self, form: str) -> str:
        """Return the interval as text, its ends in this format; empty for too few seeds."""
        return "" if self.low is None else f"{self.low:{form}} to {self.high:{form}}"

    @property
    def sign(self) -> int:
        """1 or -1 if the differences show which row is better; 0 if they do not, or are equal or too few."""
        if self.p_value is None or self.p_value >= 1 - CONFIDENCE:  # equal shares of a small test set have none
            return 0
        return 1 if self.mean > 0 else -1

    @property
    def _interval(self) -> tuple[float | None, float | None]:
        if self.estimate is not None:
            return self.estimate.interval(self.confidence)
        return (None, None) if self.seeds < FEWEST_SEEDS else (self.mean, self.mean)


def paired_gap(one: Mapping[str, float], other: Mapping[str, float]) -> Gap | None:
    """Return the gap between two rows, each given as {seed: result in percent}; None if they share no seed.

    Equal seeds mean equal initial weights and equal batches, so the differences vary less than the results.
    """
    differences = [value - other[seed] for seed, value in one.items() if seed in other]
    if not differences:
        return None
    estimate = paired_difference(one, other)
    return Gap(fmean(differences), len(differences), estimate, None if estimate is None else estimate.p_value)


def corrected(gaps: Sequence[Gap | None]) -> list[Gap | None]:
    """Return gaps with the p-values and intervals that are due where so many are judged at once (Holm)."""
    values = [gap.p_value for gap in gaps if gap is not None and gap.p_value is not None]
    found = iter(zip(holm_p_values(values), holm_confidences(values, CONFIDENCE), strict=True))
    changed: list[Gap | None] = []
    for gap in gaps:
        if gap is not None and gap.p_value is not None:
            value, confidence = next(found)
            gap = replace(gap, p_value=value, confidence=confidence)
        changed.append(gap)
    return changed
