"""Latency as a further quantity: times of the layers at their widths, fitted to measured times of whole networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slimprune.budget.cost import Cost, CostModel
from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Integers

Clock = Callable[[Integers], NDArray[np.float64]]
"""Rows and columns of the weight of every layer, [L, 2] -> seconds that each layer takes alone, [L]."""


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """A cost model that also predicts times.

    The times of the layers alone add up to `alone`, which omits everything between the layers and how they affect each
    other. A line through two measured whole networks, the dense and the narrowest one, corrects this. A factor then
    makes the model match the latest other network that was measured: latency = factor * (offset + slope * alone).

    Attributes:
        costs: Parameters, MACs and channels.
        sizes: Dense rows and columns of the weights of the layers, [L, 2].
        entries: Rows and columns that are removed with one channel of each group, [L, 2, G].
        clock: Function that times the layers.
        offset: Seconds of a whole network in addition to those of its layers.
        slope: Seconds of a whole network per second of its layers alone.
        factor: Ratio of measured to predicted time at the latest measured network.
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
        """Return the model of a network in which the layers with these weights are timed, one for each use."""
        entries = np.zeros((len(weights), 2, len(groups)), np.int64)
        for column, group in enumerate(groups):
            for slot in group.slots:
                if slot.dim < 2:
                    entries[[name == slot.name for name in weights], slot.dim, column] += slot.entries
        sizes = np.array([costs.shapes[name][:2] for name in weights], np.int64).reshape(-1, 2)
        return cls(costs, sizes, entries, clock)

    def alone(self, widths: Integers) -> float:
        """Return the total seconds of all layers, each timed alone, at the given group widths [G]."""
        return float(self.clock(self.sizes - self.entries @ (self.costs.widths - widths)).sum())

    def cost(self, widths: Integers) -> Cost:
        """Return the cost at the given group widths, [G]."""
        return replace(self.costs.cost(widths), latency=round(1e9 * self._seconds(widths)))

    def through(self, narrowest: tuple[Integers, float], dense: float) -> "LatencyModel":
        """Return the model with the line through two measured whole networks.

        Args:
            narrowest: Widths and measured seconds of the narrowest network.
            dense: Measured seconds of the dense network.
        """
        widths, seconds = narrowest
        low, high = self.alone(widths), self.alone(self.costs.widths)
        slope = (dense - seconds) / (high - low) if high > low and dense > seconds else dense / high
        return replace(self, offset=dense - slope * high, slope=slope, factor=1.0)

    def corrected(self, widths: Integers, seconds: float) -> "LatencyModel":
        """Return the model corrected by a whole network of these widths that was measured to take `seconds`."""
        return replace(self, factor=self.factor * seconds / self._seconds(widths))

    @property
    def dense(self) -> Cost:
        """Cost of the dense model; no factor applies, because its time was measured."""
        return replace(self, factor=1.0).cost(self.costs.widths)

    @property
    def marginal_costs(self) -> list[Cost]:
        """Marginal costs of the counted quantities only: the time of a single channel is too short to measure."""
        return self.costs.marginal_costs

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Dense shape of every parameter, by name."""
        return self.costs.shapes

    def _seconds(self, widths: Integers) -> float:
        return self.factor * (self.offset + self.slope * self.alone(widths))
