"""One set of weights for networks of all widths, and the search for the best widths with it."""

from slimprune.weight_sharing.generations import Evaluation, Generation, found_by, search
from slimprune.weight_sharing.network import SharedNetwork, losses_at, losses_of
from slimprune.weight_sharing.random_widths import random_proportions, spread_within

__all__ = [
    "Evaluation",
    "Generation",
    "SharedNetwork",
    "found_by",
    "losses_at",
    "losses_of",
    "random_proportions",
    "search",
    "spread_within",
]
