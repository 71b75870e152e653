"""All widths that use up a budget, each described by the proportions of the free groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slimprune.budget.allocate import allocate
from slimprune.budget.cost import Costs
from slimprune.budget.limits import Limits
from slimprune.budget.plan import Budget, Plan
from slimprune.budget.rules import factors, group_costs
from slimprune.errors import BudgetError
from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Integers
from slimprune.types import Quantity

Proportions = NDArray[np.float64]
"""Logarithm of a factor for each of the F free groups, [F]; equal values give uniform widths."""

_HALVINGS, _COARSE = 16, 8
_MARGINS = (1.0, 0.98, 0.95, 0.9)
"""Shares of the parameters of uniform widths to try: `allocate` adds single channels that still fit the budget."""
_LEVELS = (-9.0, 3.0)
"""Range of the logarithm of the common factor on all widths; the limits cut whatever lies beyond."""


@dataclass(frozen=True, eq=False)
class WidthSpace:
    """Widths in proportion to dense width * exp(proportions), as wide as the budget allows.

    Under a budget that leaves the parameters open, widths also have no more parameters than uniform ones at the same
    budget: proportions that would have more are tilted towards groups whose weights are used more often.

    Attributes:
        groups: All channel groups, G of them.
        budget: What to remove.
        costs: Cost model of the same groups.
        limits: Limits of the widths.
        floor: See `allocate`.
        round_to: See `allocate`.
        margin: Share of the parameters of uniform widths that other widths may have, in (0, 1].
    """

    groups: Sequence[ChannelGroup]
    budget: Budget
    costs: Costs
    limits: Limits
    floor: float
    round_to: int
    margin: float = 1.0

    @classmethod
    def of(
        cls,
        groups: Sequence[ChannelGroup],
        budget: Budget,
        costs: Costs,
        *,
        floor: float,
        round_to: int,
        cap: float,
    ) -> "WidthSpace":
        """Return the space of a budget.

        Args:
            groups: All channel groups.
            budget: What to remove.
            costs: Cost model of the same groups.
            floor: See `allocate`.
            round_to: See `allocate`.
            cap: Greatest width of a group as a multiple of its uniform width; the dense width is never exceeded.

        Raises:
            UsageError: If floor or round_to is out of range.
            BudgetError: If the least widths exceed the budget.
        """
        limits = Limits.of(groups, floor, round_to)
        whole = cls(groups, budget, costs, limits, floor, round_to)
        if not whole.allows(limits.rounded(limits.low)):
            raise BudgetError("expected a budget that the least widths meet, got a tighter one")
        widest = np.ceil(cap * whole.uniform / limits.step).astype(np.int64) * limits.step
        return replace(whole, limits=replace(limits, full=np.clip(widest, limits.low, limits.full)))

    def allows(self, widths: Integers) -> bool:
        """Return whether widths [G] are within the budget."""
        cost = self.costs.cost(widths)
        return all(cost.of(of) <= most for of, most in self._allowed.items())

    def tightest(self, widths: Integers) -> Quantity:
        """Return the limited quantity of whose limit these widths, [G], use most."""
        cost = self.costs.cost(widths)
        return max(self._allowed, key=lambda of: cost.of(of) / self._allowed[of])

    def saved(self, widths: Integers, smaller: Integers) -> float:
        """Return the share of the cost of widths [G] that smaller ones [G] save, of what is tightest; above 0."""
        tightest = self.tightest(widths)
        cost = self.costs.cost(widths).of(tightest)
        return max(1, cost - self.costs.cost(smaller).of(tightest)) / cost

    @cached_property
    def _allowed(self) -> dict[Quantity, int]:
        dense = self.costs.dense
        return {of: self.budget.allowed(of, dense) for of in self.budget.ratios}

    @cached_property
    def free(self) -> Integers:
        """Indices of the free groups, [F]."""
        return np.array([number for number, group in enumerate(self.groups) if group.protected_reason is None])

    @cached_property
    def uniform(self) -> Integers:
        """Uniform widths at the budget, [G]."""
        return self._widest(np.zeros(len(self.free)))

    def widths(self, proportions: Proportions) -> Integers:
        """Return the widths at the budget, [G]."""
        if "params" in self.budget.ratios or self._within_params(proportions):
            return self._widest(proportions)
        steepest = 1.0 + 2.0 * float(np.abs(proportions).max())
        tilt = -_greatest(
            lambda tilt: self._within_params(proportions - tilt * self._reuse), -steepest, 0.0, halvings=_COARSE
        )
        tilted = proportions + tilt * self._reuse
        return self._widest(tilted) if self._within_params(tilted) else self.uniform

    def scaled(self, proportions: Proportions) -> Proportions:
        """Return the proportions that the widths at the budget have to the dense ones, [F]."""
        return self.proportions_of(self.widths(proportions))

    def proportions_of(self, widths: Integers) -> Proportions:
        """Return the proportions that widths, [G], have to the dense ones, [F]."""
        logs: Proportions = np.log(widths[self.free] / self._dense[self.free])
        return logs

    def proportions(self, rule: str) -> Proportions:
        """Return the proportions of the widths that a rule without scores gives, [F]."""
        widths = self._plan(rule).widths
        return self.proportions_of(np.array([widths[group.id] for group in self.groups]))

    def rule(self, proportions: Proportions) -> str:
        """Return the name of the rule by which `allocate` gives these widths, or `uniform`.

        Under a budget that leaves the parameters open, its plan has no more of them than the uniform plan.
        """
        most = self._params_of("uniform")
        for margin in _MARGINS:
            widths = replace(self, margin=margin).widths(proportions)
            name = factors((widths[self.free] / self._dense[self.free]).tolist()).name
            if "params" in self.budget.ratios or self._params_of(name) <= most:
                return name
        return "uniform"

    def _plan(self, rule: str) -> Plan:
        return allocate(None, self.groups, self.budget, self.costs, rule=rule, floor=self.floor, round_to=self.round_to)

    def _params_of(self, rule: str) -> int:
        return self._plan(rule).slim.params

    @cached_property
    def _reuse(self) -> Proportions:
        """Logarithm of how often a weight of each free group is used, from 0 to 1."""
        found = group_costs(self.groups, self.costs, None)
        logs = np.log([max(1.0, found[number].reuse) for number in self.free])
        shares: Proportions = (logs - logs.min()) / max(1e-9, float(np.ptp(logs)))
        return shares

    @cached_property
    def _most_params(self) -> int:
        return int(self.margin * self.costs.cost(self.uniform).params)

    def _within_params(self, proportions: Proportions) -> bool:
        widths = self._widest(proportions)
        return np.array_equal(widths, self.uniform) or self.costs.cost(widths).params <= self._most_params

    def _widest(self, proportions: Proportions) -> Integers:
        level = _greatest(lambda level: self.allows(self._at(level, proportions)), *_LEVELS)
        return self._at(level, proportions)

    def _at(self, level: float, proportions: Proportions) -> Integers:
        widths = self._dense.astype(np.float64)
        widths[self.free] *= np.exp(level + proportions)
        return self.limits.rounded(np.clip(widths.round().astype(np.int64), self.limits.low, self.limits.full))

    @cached_property
    def _dense(self) -> Integers:
        return np.array([group.width for group in self.groups], np.int64)


def _greatest(fits: Callable[[float], bool], low: float, high: float, *, halvings: int = _HALVINGS) -> float:
    """Return the greatest number from `low`, which fits, to `high` that fits, by bisection."""
    if fits(high):
        return high
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
