"""Cost of a model at given widths, and the widths that a budget allows."""

from slimprune.budget.allocate import DEFAULT_FLOOR, LATENCY, allocate, schedule_target
from slimprune.budget.controls import CONTROLS, control_plan
from slimprune.budget.cost import Cost, CostModel, Costs
from slimprune.budget.latency import LatencyModel
from slimprune.budget.latency_record import Candidate, LatencyRecord, Rounding, TimedNetwork
from slimprune.budget.limits import least_widths
from slimprune.budget.plan import Budget, Plan
from slimprune.budget.rules import RULES, GroupCost, Rule, factors, find_rule, profile, register
from slimprune.budget.width_space import Proportions, WidthSpace

__all__ = [
    "CONTROLS",
    "DEFAULT_FLOOR",
    "LATENCY",
    "RULES",
    "Budget",
    "Candidate",
    "Cost",
    "CostModel",
    "Costs",
    "GroupCost",
    "LatencyModel",
    "LatencyRecord",
    "Plan",
    "Proportions",
    "Rounding",
    "Rule",
    "TimedNetwork",
    "WidthSpace",
    "allocate",
    "control_plan",
    "factors",
    "find_rule",
    "least_widths",
    "profile",
    "register",
    "schedule_target",
]
