"""Convolutions and linear layers as linear regressions: rows of inputs, moments, and least squares."""

from slimprune.regression.elimination import Elimination
from slimprune.regression.layers import (
    LinearLayer,
    as_matrix,
    group_count,
    obstacle,
    output_channels,
    weight_matrix,
    weight_of,
)
from slimprune.regression.moments import Moments, Solution
from slimprune.regression.rows import InputRows, output_rows, position_count

__all__ = [
    "Elimination",
    "InputRows",
    "LinearLayer",
    "Moments",
    "Solution",
    "as_matrix",
    "group_count",
    "obstacle",
    "output_channels",
    "output_rows",
    "position_count",
    "weight_matrix",
    "weight_of",
]
