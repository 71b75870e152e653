"""Budget and plan: how much may remain, and which channels do."""

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
        ratio: Removed share, in (0, 1); 0.9 leaves a tenth.
        of: `params`, `macs`, `channels` or `latency`.
        also: Further quantities with the minimum share of each to remove.

    Raises:
        UsageError: If a ratio is outside (0, 1), or a quantity is unknown or named twice.
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
        """Return the budget after a share `progress`, in (0, 1], of an exponential schedule.

        Of each quantity (1 - ratio) ** progress stays.
        """
        ratios = {of: 1 - (1 - ratio) ** progress for of, ratio in self.ratios.items()}
        return Budget(ratios.pop(self.of), self.of, ratios)

    def counted(self) -> "Budget":
        """Return the same limits with a share of MACs in place of latency, for use where no time can be measured."""
        ratios = self.ratios
        ratios.pop("latency", None)
        if "latency" in self.ratios:
            ratios["macs"] = max(self.ratios["latency"], ratios.get("macs", 0.0))
        of: Quantity = "macs" if self.of == "latency" else self.of
        return Budget(ratios.pop(of), of, ratios)

    def allows(self, cost: Cost, dense: Cost) -> bool:
        """Return whether no more of any limited quantity is left than allowed."""
        return all(cost.of(of) <= self.allowed(of, dense) for of in self.ratios)

    def allowed(self, of: Quantity, dense: Cost) -> int:
        """Return how much of a limited quantity may be left."""
        return math.floor((1 - self.ratios[of]) * dense.of(of) + 1e-6)


def _indices(channels: Sequence[int]) -> Tensor:
    return torch.tensor(channels, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class Plan:
    """The channels that stay.

    Attributes:
        groups: All channel groups of the dense model.
        kept: Group id -> kept channel indices, int64, ascending; every group is listed.
        budget: The requested budget.
        rule: Name of the allocation rule.
        dense: Cost of the dense model.
        slim: Predicted cost of the slim model; its latency is that of the whole network if that was measured.
        timing: What was measured on which machine, if the plan depends on it; see `LatencyRecord`.
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
        """Number of kept channels of every group."""
        return {group: len(channels) for group, channels in self.kept.items()}

    def to_json(self) -> str:
        """Return the plan as JSON text; equal plans give equal text."""
        return adapter(Plan).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Plan":
        """Read a plan from the text of `to_json`.

        Raises:
            VerificationError: If the text is not a plan; the message names the first field that is missing or invalid.
        """
        return read_value(cls, text, "plan")
