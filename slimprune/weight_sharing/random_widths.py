"""Random proportions of widths, for training shared weights at widths like those that are searched."""

import math

import torch

from slimprune.budget import Proportions

LARGEST_SPREAD = 2.0
"""With it a third of the widths drawn for VGG-19 and ResNet-20 are the dense or the least ones; with 5, two thirds."""


def spread_within(cap: float) -> float:
    """Return the spread of random proportions where a width is at most `cap` times the uniform one.

    It is 0.5 for twice and 1 for four times that width, at most 2. Narrower draws than this leave shared weights that
    fit uniform widths best, since these are in the middle of what is drawn.
    """
    return min(LARGEST_SPREAD, math.log2(cap) / 2)


def random_proportions(groups: int, generator: torch.Generator | None = None, *, spread: float) -> Proportions:
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
