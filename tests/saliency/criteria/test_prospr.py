import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup, find_groups, free_groups
from slimprune.saliency import Problem, final_weights, meta_gradient, score, score_weights
from slimprune.saliency.criteria.prospr import ProsPr
from slimprune.saliency.criteria.three_sp import ThreeSP
from tests.graph.recurrent import Crnn, Gated
from tests.networks import EXAMPLE, Residual, toy


def problem():
    torch.manual_seed(4)
    model = toy(Residual)
    batches = [(torch.randn(8, 3, 8, 8), torch.randint(0, 4, (8,))) for _ in range(4)]
    groups = free_groups(find_groups(model, EXAMPLE))
    return replace(Problem.prepare(model, groups, F.cross_entropy, "consumer", torch.float64), batches=batches)


def test_score_is_the_absolute_gate_gradient():
    prob, criterion = problem(), ProsPr(steps=2)
    expected = prob.gate_gradient(meta_gradient(prob, criterion))["stem"].abs()
    assert torch.equal(criterion.score(prob)["stem"], expected)
    assert criterion.batches_per_draw == 3


def test_without_inner_steps_it_is_3sp():
    prob = problem()
    for group, values in ThreeSP().score(prob).items():
        assert torch.equal(ProsPr(steps=0).score(prob)[group], values)


def test_first_order_takes_the_gradient_at_the_end_of_the_inner_training():
    prob, criterion = problem(), ProsPr(steps=3, first_order=True)
    final = final_weights(prob, criterion)
    expected = prob.gate_gradient(prob.gradient(final, 3))["inner"].abs()
    assert torch.equal(criterion.score(prob)["inner"], expected)


@pytest.mark.parametrize("kind", [Crnn, Gated])
def test_units_of_recurrent_layers_are_channels(kind):
    model = toy(kind)
    groups = free_groups(find_groups(model, EXAMPLE))
    batches = [(torch.randn(4, 3, 8, 8), torch.randn(4)) for _ in range(2)]
    start = Problem.prepare(
        model, groups, lambda output, target: output.sum(1).sub(target).square().sum(), "consumer", torch.float64
    )
    start, criterion = replace(start, batches=batches), ProsPr(steps=1, lr=0.01)
    found = start.gate_gradient(meta_gradient(start, criterion))
    for group in groups:
        losses = []
        for step in (1e-5, -1e-5):
            network = copy.deepcopy(start.network)
            gates = torch.ones(group.width, dtype=torch.float64)
            gates[1] += step
            nn.utils.vector_to_parameters(start.gated({group.id: gates}), network.parameters())
            moved = replace(start, network=network)
            losses.append(float(moved.loss_at(final_weights(moved, criterion), 1)))
        assert float(found[group.id][1]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("scores", [score, score_weights], ids=["channels", "weights"])
def test_fewer_stored_steps_give_the_same_scores(scores):
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE) if scores is score else [ChannelGroup("stem.weight", 6 * 3 * 9, ())]
    batches = [(torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,))) for _ in range(12)]
    found = [
        scores(model, groups, batches, F.cross_entropy, criterion=criterion, draws=2).by_group
        for criterion in (ProsPr(steps=5), ProsPr(steps=5, steps_stored=2))
    ]
    assert all(torch.equal(found[0][group], found[1][group]) for group in found[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3, "steps_stored": 0}, r"expected steps_stored >= 1 and below the number of steps \(3\), .*, got 0"),
        ({"steps": 3, "steps_stored": 3}, r"expected steps_stored >= 1 and below the number of steps \(3\), .*, got 3"),
        ({"steps_stored": 1}, r"expected steps_stored >= 1 and below the number of steps \(1\), .*, got 1"),
        ({"steps": 3, "steps_stored": 2, "first_order": True}, "expected no steps_stored for first order, .*, got 2"),
        ({"on_host": True, "first_order": True}, "expected no on_host for first order, .*, got True"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        ProsPr(**options)


def test_one_batch_for_all_steps_and_the_final_loss():
    prob, criterion = problem(), ProsPr(steps=2, one_batch=True)
    same = replace(prob, batches=[prob.batches[0]] * 3)
    assert criterion.batches_per_draw == 1
    assert torch.equal(criterion.score(prob)["stem"], ProsPr(steps=2).score(same)["stem"])
    assert not torch.equal(criterion.score(prob)["stem"], ProsPr(steps=2).score(prob)["stem"])
