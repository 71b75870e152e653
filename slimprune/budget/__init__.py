"""What a model of given widths costs, and which widths a budget allows."""

from slimprune.budget.allocate import DEFAULT_FLOOR, LATENCY, allocate, least_widths, target
from slimprune.budget.cost import QUANTITIES, Cost, CostModel, Costs, Quantity
from slimprune.budget.latency import LatencyModel
from slimprune.budget.plan import Budget, Plan
from slimprune.budget.rules import RULES, Rule, find_rule, profile
from slimprune.budget.timing import Candidate, Rounding, Timing, Trial
from slimprune.budget.twins import TWINS, twin

__all__ = [
    "DEFAULT_FLOOR",
    "LATENCY",
    "QUANTITIES",
    "RULES",
    "TWINS",
    "Budget",
    "Candidate",
    "Cost",
    "CostModel",
    "Costs",
    "LatencyModel",
    "Plan",
    "Quantity",
    "Rounding",
    "Rule",
    "Timing",
    "Trial",
    "allocate",
    "find_rule",
    "least_widths",
    "profile",
    "target",
    "twin",
]
