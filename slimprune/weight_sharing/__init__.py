"""One set of weights for networks of all widths, and the search for the best widths with it."""

from slimprune.weight_sharing.generations import Evaluation, Generation, found_by, search
from slimprune.weight_sharing.network import SharedNetwork, batch_statistics, losses_at
from slimprune.weight_sharing.random_widths import SPREAD, random_proportions

__all__ = [
    "SPREAD",
    "Evaluation",
    "Generation",
    "SharedNetwork",
    "batch_statistics",
    "found_by",
    "losses_at",
    "random_proportions",
    "search",
]
