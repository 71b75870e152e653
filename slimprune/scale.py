"""How the values of a metric are read: which ones are better, and in which unit they are shown."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MetricUnit = Literal["%", "dB", ""]
"""Unit in which a metric is shown: a share in percent, decibels, or a plain number."""


@dataclass(frozen=True)
class Scale:
    """How the values of a metric are read.

    Attributes:
        unit: "%" for a share in [0, 1], which is shown in percent; "dB" or "" for numbers that are shown as they are.
        higher_is_better: Whether larger values are better.
    """

    unit: MetricUnit = "%"
    higher_is_better: bool = True

    @property
    def factor(self) -> int:
        """What a value is multiplied by where it is shown."""
        return 100 if self.unit == "%" else 1

    @property
    def sign(self) -> int:
        """1 if larger values are better, else -1."""
        return 1 if self.higher_is_better else -1

    @property
    def points(self) -> str:
        """What differences are counted in, with a space before it; empty for a plain number."""
        return {"%": " points", "dB": " dB", "": ""}[self.unit]

    def shown(self, value: float) -> str:
        """Return a value as text.

        >>> Scale().shown(0.912), Scale("dB").shown(31.5), Scale("").shown(0.03125)
        ('91.20 %', '31.50 dB', '0.03125')
        """
        return f"{value:.4g}" if self.unit == "" else f"{self.factor * value:.2f} {self.unit}"

    def change(self, value: float, other: float) -> str:
        """Return the difference value - other as text.

        >>> Scale().change(0.9, 0.912), Scale("").change(0.5, 0.25)
        ('-1.20 points', '+0.25')
        """
        difference = self.factor * (value - other)
        return f"{difference:+.4g}" if self.unit == "" else f"{difference:+.2f}{self.points}"

    def loss(self, value: float, other: float) -> float:
        """Return by how much a value is worse than another: in points, for a plain number in percent of the other.

        >>> round(Scale().loss(0.9, 0.912), 2), Scale("", higher_is_better=False).loss(1.5, 1.0)
        (1.2, 50.0)
        """
        worse = (other - value) if self.higher_is_better else (value - other)
        if self.unit == "":
            return 100 * worse / abs(other) if other else 0.0 if worse == 0 else float("inf") * (1 if worse > 0 else -1)
        return self.factor * worse

    def best(self, values: Iterable[float]) -> float:
        """Return the best of some values."""
        return max(values) if self.higher_is_better else min(values)

    def titled(self, name: str) -> str:
        """Return the name of a metric, with the direction where lower values are better.

        >>> Scale().titled("top-1"), Scale("", higher_is_better=False).titled("RMSE")
        ('top-1', 'RMSE (lower is better)')
        """
        return name if self.higher_is_better else f"{name} (lower is better)"


SHARES = Scale()
"""The scale of shares in [0, 1], of which more is better."""
