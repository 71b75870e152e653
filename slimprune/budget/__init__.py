"""What a model of given widths costs, and which widths a budget allows."""

from slimprune.budget.allocate import DEFAULT_FLOOR, allocate
from slimprune.budget.cost import QUANTITIES, Cost, CostModel, Quantity
from slimprune.budget.plan import Budget, Plan
from slimprune.budget.rules import RULES, Rule, find_rule

__all__ = [
    "DEFAULT_FLOOR",
    "QUANTITIES",
    "RULES",
    "Budget",
    "Cost",
    "CostModel",
    "Plan",
    "Quantity",
    "Rule",
    "allocate",
    "find_rule",
]
