"""Instability over several seeds: means and standard deviations of the curves of one network."""

from collections.abc import Sequence
from statistics import fmean, stdev

from slimprune.files import InstabilityCurve, UnstableNetwork


def over_seeds(seeds: Sequence[int], found: Sequence[Sequence[UnstableNetwork]]) -> list[UnstableNetwork]:
    """Return the networks with the means of their curves over seeds; those of a single seed as they are.

    Args:
        seeds: The seeds.
        found: For each seed the same networks with the same steps.
    """
    if len(seeds) == 1:
        return list(found[0])
    return [_mean_network(seeds, networks) for networks in zip(*found, strict=True)]


def _mean_network(seeds: Sequence[int], networks: Sequence[UnstableNetwork]) -> UnstableNetwork:
    curves = zip(*(network["curves"] for network in networks), strict=True)
    params = round(fmean(network["params"] for network in networks))
    return {**networks[0], "params": params, "curves": [_mean_curve(seeds, own) for own in curves]}


def _mean_curve(seeds: Sequence[int], curves: Sequence[InstabilityCurve]) -> InstabilityCurve:
    places = list(zip(*(curve["errors"] for curve in curves), strict=True))
    gaps = [curve["instability"] for curve in curves]
    return {
        "step": curves[0]["step"],
        "epoch": curves[0]["epoch"],
        "errors": [fmean(errors) for errors in places],
        "trained": [fmean(errors) for errors in zip(*(curve["trained"] for curve in curves), strict=True)],
        "instability": fmean(gaps),
        "distance": fmean(curve["distance"] for curve in curves),
        "spread": {"errors": [stdev(errors) for errors in places], "instability": stdev(gaps)},
        "by_seed": [
            {
                "seed": seed,
                "errors": curve["errors"],
                "trained": curve["trained"],
                "instability": curve["instability"],
                "distance": curve["distance"],
            }
            for seed, curve in zip(seeds, curves, strict=True)
        ],
    }
