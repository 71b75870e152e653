"""Comparison of methods at equal budgets: a grid of recipes (`grid`), its cells (`cells`), its tables (`compare`)."""

from slimprune.comparison.clusters import OnCluster
from slimprune.comparison.compare import compare, recorded_cells
from slimprune.comparison.grid import Grid, make_grid

__all__ = ["Grid", "OnCluster", "compare", "make_grid", "recorded_cells"]
