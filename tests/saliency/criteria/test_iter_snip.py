from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from slimprune.saliency import Target, channel_target
from slimprune.saliency.criteria.iter_snip import IterSnip
from slimprune.saliency.criteria.three_sp import ThreeSP
from tests.saliency.references import assert_same, best, gated_output, open_gates, residual_problem, slopes


@pytest.mark.parametrize(
    ("density", "counts"),
    [
        (0.25, [6]),  # round(11 * 0.25 ** (1/2)) = round(5.5) = 6
        (0.2, [6, 4]),  # round(11 * 0.2 ** (1/3)) = round(6.43), round(11 * 0.2 ** (2/3)) = round(3.76)
    ],
)
def test_equals_the_gates_written_out(density, counts):
    rounds = len(counts) + 1
    model, batches, problem = residual_problem(rounds, channel_target(density))
    gates = open_gates()
    for (x, target), count in zip(batches, [*counts, None], strict=True):
        found = slopes(
            lambda leaves, x=x, target=target: F.cross_entropy(gated_output(model, leaves, x), target), gates
        )
        scores = {group: (gates[group] * slope).abs() for group, slope in found.items()}
        gates = gates if count is None else best(scores, count)
    assert_same(IterSnip(rounds).score(problem), scores)


def test_one_round_is_snip():
    _, _, problem = residual_problem(1, channel_target(0.3))
    found, snip = IterSnip(1).score(problem), ThreeSP().score(problem)
    assert all(torch.equal(found[group], snip[group]) for group in snip)


def test_a_removed_channel_never_comes_back():
    masks = []

    def narrow(scores, share):
        masks.append(channel_target(0.2).narrow(scores, share))
        return masks[-1]

    _, _, problem = residual_problem(20, Target(0.2, narrow))
    scores = IterSnip(20).score(problem)
    kept = [torch.cat(list(mask.values())) for mask in masks]
    assert all((later <= earlier).all() for earlier, later in pairwise(kept))
    assert (torch.cat(list(scores.values()))[~kept[-1]] == 0).all()


def test_every_round_has_a_batch_of_its_own():
    assert IterSnip().rounds == IterSnip().batches_per_draw == 60
