"""What each operator does to the channels that reach it: one table of small rules."""

from slimprune.graph.rules.table import apply_rule

__all__ = ["apply_rule"]
