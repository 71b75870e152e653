"""Random proportions of widths, for training shared weights at widths like those that are searched."""

import torch

from slimprune.budget import Proportions

SPREAD = 0.5
"""Spread of a group's proportion, as the logarithm of a factor."""


def random_proportions(groups: int, generator: torch.Generator | None = None, *, spread: float = SPREAD) -> Proportions:
    """Return random proportions of the widths of consecutive groups, [F].

    They are the sum of a parabola over depth, which favours early, late or middle layers, and of noise per group.

    Args:
        groups: Number of groups F.
        generator: Generator on the CPU; None for torch's own.
        spread: Standard deviation of the slope; curvature and noise have 0.7 and 0.5 of it.
    """
    depth = torch.linspace(-1, 1, groups, dtype=torch.float64)
    slope, bend = torch.randn(2, generator=generator, dtype=torch.float64)
    noise = torch.randn(groups, generator=generator, dtype=torch.float64)
    found: Proportions = (spread * (slope * depth + 0.7 * bend * (depth**2 - 1 / 3) + 0.5 * noise)).numpy()
    return found
