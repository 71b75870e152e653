"""The cross-entropy method: it finds a minimum, and goes on from what was done."""

import numpy as np

from slimprune.weight_sharing import evolve

BOTTOM = np.array([0.5, -0.5, 0.25])


def bowl(point, generation):
    return float(np.square(point - BOTTOM).sum())


def first(count, seed=0):
    return list(np.random.default_rng(seed).normal(size=(count, 3)))


def test_it_finds_the_bottom_of_a_bowl():
    generations = evolve(bowl, first(30), generations=12, seed=0)
    assert len(generations) == 12
    assert np.abs(np.array(generations[-1].mean) - BOTTOM).max() < 0.05
    assert generations[-1].best < generations[0].best


def test_a_search_that_goes_on_ends_the_same():
    """Four generations at once, and two after two, with the same candidates throughout."""
    whole = evolve(bowl, first(10), generations=4, seed=3)
    half = evolve(bowl, first(10), generations=2, seed=3)
    evaluated = []

    def counted(point, generation):
        evaluated.append(point)
        return bowl(point, generation)

    assert evolve(counted, first(10), generations=4, seed=3, done=half) == whole
    assert len(evaluated) == 2 * 10


def test_the_mean_of_the_former_generation_is_a_candidate():
    points = []

    def kept(point, generation):
        points.append(point)
        return bowl(point, generation)

    generations = evolve(kept, first(10), generations=2, seed=0)
    assert np.allclose(points[10], generations[0].mean)


def test_a_generation_is_judged_by_its_own_loss():
    """A constant that differs between generations changes nothing."""
    shifted = evolve(lambda point, generation: bowl(point, 0) + 7 * generation, first(10), generations=3, seed=0)
    assert [one.mean for one in shifted] == [one.mean for one in evolve(bowl, first(10), generations=3, seed=0)]


def test_every_generation_is_handed_over():
    sizes = []
    evolve(bowl, first(5), generations=3, seed=0, after=lambda done: sizes.append(len(done)))
    assert sizes == [1, 2, 3]
