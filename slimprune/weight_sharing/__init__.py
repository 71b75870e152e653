"""One set of weights for networks of all widths, and the search for the best widths with it."""

from slimprune.weight_sharing.cross_entropy import Evaluation, Generation, evolve
from slimprune.weight_sharing.network import SharedNetwork, losses_at
from slimprune.weight_sharing.random_widths import random_proportions

__all__ = [
    "Evaluation",
    "Generation",
    "SharedNetwork",
    "evolve",
    "losses_at",
    "random_proportions",
]
