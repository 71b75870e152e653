"""Evolutionary search: who survives, what crossing and mutation make of the best candidates."""

import numpy as np

from slimprune.weight_sharing import evolution

ELITE = np.array([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])


def drawn(count=402):
    """2 survivors, 200 crossings and 200 mutations."""
    candidates = evolution.draw(ELITE, count, np.random.default_rng(0))
    return candidates[:2], candidates[2:202], candidates[202:]


def test_the_best_survive_and_the_first_of_them_is_found():
    survivors, crossed, mutated = drawn()
    assert survivors.tolist() == ELITE.tolist()
    assert evolution.found(ELITE).tolist() == [1, 2, 3, 4]
    assert (len(crossed), len(mutated)) == (200, 200)


def test_a_crossing_has_every_width_from_one_of_its_parents():
    _, crossed, _ = drawn()
    of_first = crossed == ELITE[0]
    assert (of_first | (crossed == ELITE[1])).all()
    assert 0.4 < of_first.mean() < 0.6


def test_a_mutation_changes_at_least_one_width_and_few_in_the_mean():
    """One of four for certain and each of the other three with 0.1: (1 + 0.3) / 4 of them, 0.325."""
    _, _, mutated = drawn()
    distances = np.stack([mutated != parent for parent in ELITE])
    changed = distances[distances.sum(2).argmin(0), np.arange(len(mutated))]
    assert changed.any(1).all()
    assert 0.25 < changed.mean() < 0.4
