"""Budget and plan: what may remain, and which channels do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import PlainSerializer
from torch import Tensor

from slimprune.budget.cost import Cost
from slimprune.budget.latency_record import LatencyRecord
from slimprune.errors import UsageError
from slimprune.files import adapter, as_json, read_value
from slimprune.graph import ChannelGroup
from slimprune.types import QUANTITIES, Quantity


@dataclass(frozen=True)
class Budget:
    """The share to remove of one quantity, and of others at the same time.

    Attributes:
        ratio: removed share, in (0, 1); 0.9 leaves a tenth.
        of: `params`, `macs`, `channels` or `latency`.
        also: further quantities with the share of each that has to go at least.

    Raises:
        UsageError: a ratio outside (0, 1), an unknown quantity, or one that is named twice.
    """

    ratio: float
    of: Quantity = "params"
    also: Mapping[Quantity, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.of in self.also:
            raise UsageError(f"expected each quantity once in a budget, got {self.of} twice")
        for of, ratio in self.ratios.items():
            if not (math.isfinite(ratio) and 0 < ratio < 1):
                raise UsageError(f"expected ratio in (0, 1), got {ratio}")
            if of not in QUANTITIES:
                raise UsageError(f"expected a quantity ({', '.join(QUANTITIES)}), got {of!r}")

    @property
    def ratios(self) -> dict[Quantity, float]:
        """Removed share of every limited quantity."""
        return {self.of: self.ratio, **self.also}

    def on_the_way(self, progress: float) -> "Budget":
        """The budget after a share `progress`, in (0, 1], of an exponential schedule: (1 - ratio) ** progress stays."""
        ratios = {of: 1 - (1 - ratio) ** progress for of, ratio in self.ratios.items()}
        return Budget(ratios.pop(self.of), self.of, ratios)

    def counted(self) -> "Budget":
        """The same limits with as much of the MACs in place of latency, where there is no time to measure it."""
        ratios = self.ratios
        ratios.pop("latency", None)
        if "latency" in self.ratios:
            ratios["macs"] = max(self.ratios["latency"], ratios.get("macs", 0.0))
        of: Quantity = "macs" if self.of == "latency" else self.of
        return Budget(ratios.pop(of), of, ratios)

    def allows(self, cost: Cost, dense: Cost) -> bool:
        """Whether no more is left of any limited quantity than may be."""
        return all(cost.of(of) <= self.allowed(of, dense) for of in self.ratios)

    def allowed(self, of: Quantity, dense: Cost) -> int:
        """How much of a limited quantity may be left."""
        return math.floor((1 - self.ratios[of]) * dense.of(of) + 1e-6)


def _indices(channels: Sequence[int]) -> Tensor:
    return torch.tensor(channels, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class Plan:
    """Which channels stay.

    Attributes:
        groups: all channel groups of the dense model.
        kept: group id -> kept channel indices, int64, ascending; every group is named.
        budget: what was asked for.
        rule: name of the allocation rule.
        dense: cost of the dense model.
        slim: predicted cost of the slim model; its latency is that of the whole network where that was measured.
        timing: what was measured on which machine, where the plan depends on it; see `Timing`.
    """

    groups: tuple[ChannelGroup, ...]
    kept: Mapping[str, Annotated[Tensor, as_json(list[int], _indices, Tensor.tolist)]]
    budget: Budget
    rule: str
    dense: Annotated[Cost, PlainSerializer(Cost.to_json)]
    slim: Annotated[Cost, PlainSerializer(Cost.to_json)]
    timing: LatencyRecord | None = None

    @property
    def achieved(self) -> float:
        """Removed share of the budgeted quantity."""
        return 1 - self.slim.of(self.budget.of) / self.dense.of(self.budget.of)

    @property
    def widths(self) -> dict[str, int]:
        """Kept channels of every group."""
        return {group: len(channels) for group, channels in self.kept.items()}

    def to_json(self) -> str:
        """The plan as JSON text; equal plans give equal text."""
        return adapter(Plan).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Plan":
        """Inverse of `to_json`.

        Raises:
            VerificationError: it is no plan; the message names the first field that is missing or odd.
        """
        return read_value(cls, text, "plan")
