"""Latency as one more quantity: the times of the layers at their widths, made to fit times of whole networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slimprune.budget.cost import Cost, CostModel
from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Integers

Clock = Callable[[Integers], NDArray[np.float64]]
"""Rows and columns of the weight of every layer, [L, 2], to the seconds that each takes alone, [L]."""


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """A cost model that knows times as well.

    The layers' own times add up to `alone`, which leaves out everything between them and what they cost each other. A
    line through two whole networks that were measured, the dense one and the narrowest, makes up for it; and the last
    of the others that was measured is met by a factor: latency = factor * (offset + slope * alone).

    Attributes:
        costs: parameters, MACs and channels.
        sizes: dense rows and columns of the weights of the layers, [L, 2].
        entries: rows and columns that go with one channel of each group, [L, 2, G].
        clock: what times the layers.
        offset: seconds of a whole network beside its layers.
        slope: seconds of a whole network for each of its layers' own.
        factor: by which the line was missed when it was last tried.
    """

    costs: CostModel
    sizes: Integers
    entries: Integers
    clock: Clock
    offset: float = 0.0
    slope: float = 1.0
    factor: float = 1.0

    @classmethod
    def of(
        cls, costs: CostModel, groups: Sequence[ChannelGroup], weights: Sequence[str], clock: Clock
    ) -> "LatencyModel":
        """The model of a network in which the layers with these weights are timed, one for each use."""
        entries = np.zeros((len(weights), 2, len(groups)), np.int64)
        for column, group in enumerate(groups):
            for slot in group.slots:
                if slot.dim < 2:
                    entries[[name == slot.name for name in weights], slot.dim, column] += slot.entries
        sizes = np.array([costs.shapes[name][:2] for name in weights], np.int64).reshape(-1, 2)
        return cls(costs, sizes, entries, clock)

    def alone(self, widths: Integers) -> float:
        """Seconds of all layers, each on its own, at the given group widths [G]."""
        return float(self.clock(self.sizes - self.entries @ (self.costs.widths - widths)).sum())

    def cost(self, widths: Integers) -> Cost:
        """Cost at the given group widths, [G]."""
        return replace(self.costs.cost(widths), latency=round(1e9 * self._seconds(widths)))

    def through(self, narrowest: tuple[Integers, float], dense: float) -> "LatencyModel":
        """The model of the line through two whole networks.

        Args:
            narrowest: its widths and the seconds that it took.
            dense: seconds of the dense network.
        """
        widths, seconds = narrowest
        low, high = self.alone(widths), self.alone(self.costs.widths)
        slope = (dense - seconds) / (high - low) if high > low and dense > seconds else dense / high
        return replace(self, offset=dense - slope * high, slope=slope, factor=1.0)

    def corrected(self, widths: Integers, seconds: float) -> "LatencyModel":
        """The model after a whole network of these widths was measured to take `seconds`."""
        return replace(self, factor=self.factor * seconds / self._seconds(widths))

    @property
    def dense(self) -> Cost:
        """Cost of the dense model, which no factor changes: it was measured itself."""
        return replace(self, factor=1.0).cost(self.costs.widths)

    @property
    def marginal_costs(self) -> list[Cost]:
        """As of the counted quantities: a single channel less is no time that could be told."""
        return self.costs.marginal_costs

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Dense shape of every parameter, by name."""
        return self.costs.shapes

    def _seconds(self, widths: Integers) -> float:
        return self.factor * (self.offset + self.slope * self.alone(widths))
