"""The cross-entropy method: candidates lie around the mean of the best ones."""

import numpy as np

from slimprune.weight_sharing import cross_entropy

ELITE = np.array([[1.0, 0.0], [3.0, 0.0]])


def test_the_mean_of_the_best_is_a_candidate_and_what_is_found():
    """The mean of 1 and 3 is 2."""
    drawn = cross_entropy.draw(ELITE, 4, np.random.default_rng(0))
    assert drawn.shape == (4, 2)
    assert drawn[0].tolist() == cross_entropy.found(ELITE).tolist() == [2, 0]


def test_candidates_spread_as_the_best_do():
    """The deviation of 1 and 3 is 1, so candidates have 0.8 * 1 + 0.03, and 0.03 where the best agree."""
    drawn = cross_entropy.draw(ELITE, 20_000, np.random.default_rng(0))
    assert np.allclose(drawn.std(0), [0.83, 0.03], rtol=0.02)
