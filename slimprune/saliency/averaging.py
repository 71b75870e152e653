"""How the draws of a criterion become one score: signed and then without a sign, or without a sign from the start."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import Criterion

Average = Literal["signed", "absolute"]
AVERAGES: tuple[str, ...] = get_args(Average)


class Signed(ABC):
    """A criterion whose scores have a sign until the end, such as the derivative for a gate.

    Noise of either sign cancels in the mean of signed draws, as in one draw with larger batches. In the mean of
    absolute values it does not: that of a channel without any influence tends to the amplitude of its noise.

    Attributes:
        average: How draws are averaged by default.
    """

    average: Average = "signed"

    @abstractmethod
    def signed(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return group id -> signed values [width] of one draw."""

    def without_sign(self, signed: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the non-negative saliency by group of signed values; by default their absolute values."""
        return {group: values.abs() for group, values in signed.items()}

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        return self.without_sign(self.signed(problem))


def average_of(name: str, criterion: Criterion | Signed, given: str | None) -> Average:
    """Return how the draws of a criterion are averaged: as given, otherwise by its own default.

    Raises:
        UsageError: If the average is unknown, or the scores of the criterion have no sign.
    """
    if given is not None and given not in AVERAGES:
        raise UsageError(f"expected an average ({', '.join(AVERAGES)}), got {given!r}")
    if not isinstance(criterion, Signed):
        if given == "signed":
            raise UsageError(f"expected the average absolute for {name}, whose scores have no sign, got 'signed'")
        return "absolute"
    return criterion.average if given is None else "signed" if given == "signed" else "absolute"
