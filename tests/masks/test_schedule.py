"""The cubic schedule of gradual pruning."""

import pytest

from slimprune.masks import gradual_sparsity, pruning_steps


@pytest.mark.parametrize(
    ("done", "expected"),
    [(0, 0), (0.25, 0.9 * (1 - 0.75**3)), (0.5, 0.9 * 0.875), (0.75, 0.9 * (1 - 1 / 64)), (1, 0.9)],
)
def test_the_share_on_the_way(done, expected):
    assert gradual_sparsity(0.9, done) == pytest.approx(expected)


def test_steps_at_equal_distances_of_which_the_last_has_the_ratio():
    found = pruning_steps(10, 50, 4, 0.8)
    assert list(found) == [20, 30, 40, 50]
    # 0.8 times 1 - (3/4)^3, 1 - (2/4)^3, 1 - (1/4)^3 and 1.
    assert list(found.values()) == pytest.approx([0.8 * 37 / 64, 0.8 * 7 / 8, 0.8 * 63 / 64, 0.8])


@pytest.mark.parametrize("rounds", [1, 3, 7, 100])
def test_shares_rise_within_the_window(rounds):
    found = pruning_steps(2, 9, rounds, 0.5)
    steps, shares = list(found), list(found.values())
    assert steps == sorted(steps)
    assert shares == sorted(shares)
    assert (steps[-1], shares[-1]) == (9, 0.5)
    assert steps[0] > 2
    assert len(found) <= 7
