from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from slimprune.graph import find_groups, free_groups
from slimprune.saliency import Problem, Target, channel_target, exponential
from slimprune.saliency.iterative import IterativePruning
from tests.networks import EXAMPLE, Residual, toy


@pytest.mark.parametrize(
    ("density", "rounds", "shares"),
    [
        (0.3, 1, [0.3]),
        (0.25, 2, [0.5, 0.25]),
        (0.0625, 4, [0.5, 0.25, 0.125, 0.0625]),  # half of what is left, each time
        (0.001, 3, [0.1, 0.01, 0.001]),
    ],
)
def test_shares_fall_by_equal_factors(density, rounds, shares):
    assert exponential(density, rounds) == pytest.approx(shares)


def problem():
    model = toy(Residual)
    groups = free_groups(find_groups(model, EXAMPLE))
    return Problem.prepare(model, groups, F.cross_entropy, "consumer", torch.float32)


class Seen:
    """A sensitivity that hands out fixed scores and a target that counts channels, and what both were given."""

    def __init__(self, density, narrow=None):
        self.gates, self.scores, self.stays = [], [], []
        self.narrow = narrow or channel_target(density).narrow
        self.target = Target(density, self.narrowed)

    def sensitivity(self, gates, step):
        assert step == len(self.gates)
        self.gates.append(gates)
        # the scores turn round in every other round
        values = torch.arange(1.0, 12) if step % 2 == 0 else torch.arange(11.0, 0, -1)
        return dict(zip(("stem", "inner"), values.split([6, 5]), strict=True))

    def narrowed(self, scores, share):
        self.scores.append(scores)
        self.stays.append(self.narrow(scores, share))
        return self.stays[-1]


def kept(gates):
    return torch.cat([gates["stem"], gates["inner"]]).nonzero().flatten().tolist()


def test_kept_counts_follow_the_schedule_and_the_last_narrowing_is_left_out():
    seen = Seen(1 / 11)
    IterativePruning(3).scores_after_rounds(problem(), seen.target, seen.sensitivity, may_return=True)
    # 11 channels: all, then round(11 * 11 ** (-1/3)) = round(4.95), then round(11 * 11 ** (-2/3)) = round(2.22)
    assert [len(kept(gates)) for gates in seen.gates] == [11, 5, 2]
    assert len(seen.stays) == 2


def test_removed_channels_come_back_where_they_may():
    seen = Seen(1 / 11)
    last = IterativePruning(3).scores_after_rounds(problem(), seen.target, seen.sensitivity, may_return=True)
    assert [kept(gates) for gates in seen.gates] == [list(range(11)), [6, 7, 8, 9, 10], [0, 1]]
    assert torch.equal(torch.cat([last["stem"], last["inner"]]), torch.arange(1.0, 12))


def test_removed_channels_stay_away_where_they_may_not_return():
    seen = Seen(1 / 11)
    last = IterativePruning(3).scores_after_rounds(problem(), seen.target, seen.sensitivity, may_return=False)
    assert [kept(gates) for gates in seen.gates] == [list(range(11)), [6, 7, 8, 9, 10], [6, 7]]
    assert kept(last) == [6, 7]
    assert seen.scores[1]["stem"].tolist() == [0.0] * 6


def test_a_target_that_asks_for_a_removed_channel_does_not_get_it():
    masks = iter([[False, True, True, False, True, True], [True] * 6])
    seen = Seen(0.5, lambda scores, share: {"stem": torch.tensor(next(masks)), "inner": torch.tensor([True] * 5)})
    last = IterativePruning(3).scores_after_rounds(problem(), seen.target, seen.sensitivity, may_return=False)
    assert seen.gates[2]["stem"].tolist() == [0, 1, 1, 0, 1, 1]
    assert last["stem"].tolist() == [0, 2, 3, 0, 5, 6]


def test_a_candidate_without_influence_ranks_before_who_is_gone():
    """Otherwise a target that gives every layer a floor could ask for removed channels and leave the layer empty."""
    last_alone, found = torch.tensor([False] * 5 + [True]), []

    def narrow(scores, share):
        best = channel_target(0.5).narrow({"stem": scores["stem"]}, 1 / 6)["stem"]
        return {"stem": last_alone if share > 0.7 else best, "inner": torch.ones(5, dtype=torch.bool)}

    def sensitivity(gates, step):
        found.append(gates["stem"].tolist())
        return {"stem": torch.zeros(6), "inner": torch.ones(5)}

    # shares 0.5 ** (1/3) = 0.79, then 0.5 ** (2/3) = 0.63
    IterativePruning(3).scores_after_rounds(problem(), Target(0.5, narrow), sensitivity, may_return=False)
    assert found == [[1] * 6, [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]]


def test_one_round_scores_at_open_gates():
    seen = Seen(0.5)
    IterativePruning(1).scores_after_rounds(problem(), seen.target, seen.sensitivity, may_return=False)
    assert [kept(gates) for gates in seen.gates] == [list(range(11))]
    assert seen.stays == []


def test_gates_are_in_the_problems_dtype():
    seen, prob = Seen(0.5), problem()
    prob = replace(prob, network=prob.network.double())
    IterativePruning(2).scores_after_rounds(prob, seen.target, seen.sensitivity, may_return=False)
    assert {tensor.dtype for gates in seen.gates for tensor in gates.values()} == {torch.float64}
    assert {tensor.dtype for scores in seen.scores for tensor in scores.values()} == {torch.float64}
