"""What each operator does to the channels that reach it: a table of small rules."""

from slimprune.graph.rules.table import OPERATORS, apply_rule, register

__all__ = ["OPERATORS", "apply_rule", "register"]
