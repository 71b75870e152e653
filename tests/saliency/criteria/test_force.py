from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from slimprune.saliency import Target, channel_target
from slimprune.saliency.criteria.force import Force
from slimprune.saliency.criteria.three_sp import ThreeSP
from tests.saliency.references import assert_same, best, gated_output, open_gates, residual_problem, slopes


def reference(model, batches, counts):
    """Rounds of | d loss / d gate | at the gates; the best `counts` channels stay after each round but the last."""
    gates = open_gates()
    for (x, target), count in zip(batches, [*counts, None], strict=True):
        found = slopes(
            lambda leaves, x=x, target=target: F.cross_entropy(gated_output(model, leaves, x), target), gates
        )
        scores = {group: slope.abs() for group, slope in found.items()}
        gates = gates if count is None else best(scores, count)
    return scores


@pytest.mark.parametrize(
    ("density", "counts"),
    [
        (0.25, [6]),  # round(11 * 0.25 ** (1/2)) = round(5.5) = 6
        (0.2, [6, 4]),  # round(11 * 0.2 ** (1/3)) = round(6.43), round(11 * 0.2 ** (2/3)) = round(3.76)
        (0.1, [8, 6, 4, 3, 2, 2]),  # 11 * 0.1 ** (k/7): 7.92, 5.70, 4.10, 2.95, 2.12, 1.53, without the last
    ],
)
def test_equals_the_gates_written_out(density, counts):
    rounds = len(counts) + 1
    model, batches, problem = residual_problem(rounds, channel_target(density))
    assert_same(Force(rounds).score(problem), reference(model, batches, counts))


def test_one_round_is_snip():
    _, _, problem = residual_problem(1, channel_target(0.3))
    found, snip = Force(1).score(problem), ThreeSP().score(problem)
    assert all(torch.equal(found[group], snip[group]) for group in snip)


def test_a_removed_channel_may_come_back():
    masks = []

    def narrow(scores, share):
        masks.append(channel_target(0.5).narrow(scores, share))
        return masks[-1]

    _, _, problem = residual_problem(20, Target(0.5, narrow))
    scores = Force(20).score(problem)
    kept = [torch.cat(list(mask.values())) for mask in masks]
    assert any((later & ~earlier).any() for earlier, later in pairwise(kept))
    removed = ~kept[-1]
    assert (torch.cat(list(scores.values()))[removed] > 0).all()


def test_every_round_has_a_batch_of_its_own():
    assert Force().rounds == Force().batches_per_draw == 60
    assert Force(7).batches_per_draw == 7
