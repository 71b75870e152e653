"""Convolutions and linear layers as linear regressions: rows of inputs, moments, and least squares."""

from slimprune.regression.layers import LinearLayer, group_count, obstacle, output_channels, weight_matrix, weight_of
from slimprune.regression.moments import Moments, Solution
from slimprune.regression.rows import InputRows, output_rows, position_count

__all__ = [
    "InputRows",
    "LinearLayer",
    "Moments",
    "Solution",
    "group_count",
    "obstacle",
    "output_channels",
    "output_rows",
    "position_count",
    "weight_matrix",
    "weight_of",
]
