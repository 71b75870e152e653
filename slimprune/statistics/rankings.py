"""What a rank correlation says about a ranking."""

NOISE, SETTLED = 0.3, 0.7
"""Correlations with another ranking of the same: below the first, it is mostly noise; from the second on, settled."""
