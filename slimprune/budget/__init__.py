"""What a model of given widths costs, and which widths a budget allows."""

from slimprune.budget.allocate import DEFAULT_FLOOR, allocate, target
from slimprune.budget.cost import QUANTITIES, Cost, CostModel, Quantity
from slimprune.budget.plan import Budget, Plan
from slimprune.budget.rules import RULES, Rule, find_rule, profile
from slimprune.budget.twins import TWINS, twin

__all__ = [
    "DEFAULT_FLOOR",
    "QUANTITIES",
    "RULES",
    "TWINS",
    "Budget",
    "Cost",
    "CostModel",
    "Plan",
    "Quantity",
    "Rule",
    "allocate",
    "find_rule",
    "profile",
    "target",
    "twin",
]
