"""Scores of single weights against a network whose weights are multiplied by their gates in plain torch, unrolled."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup
from slimprune.masks import find_weights, weight_target
from slimprune.saliency import WeightProblem, criteria, make_criterion, score_weights
from slimprune.saliency.scores import average
from tests.saliency.references import assert_same, slopes

NAMES = ("0.weight", "3.weight", "5.weight")
LR, MOMENTUM, DECAY = 0.1, 0.9, 5e-4


def network():
    """6 * 2 * 9 = 108, 6 * 4 * 5 = 120 and 5 * 3 = 15 weights."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3)
        ).double()


def batches(count):
    generator = torch.Generator().manual_seed(8)
    return [
        (torch.randn(6, 2, 4, 4, dtype=torch.float64, generator=generator),
         torch.randint(0, 3, (6,), generator=generator))
        for _ in range(count)
    ]  # fmt: skip


def problem(count=1, target=None):
    model = network()
    groups = [ChannelGroup(name, dict(model.named_parameters())[name].numel(), ()) for name in NAMES]
    prepared = WeightProblem.prepare(model, groups, F.cross_entropy, "consumer", torch.float64)
    return replace(prepared, batches=batches(count), target=target)


def loss_at(weights, batch):
    x, target = batch
    x = F.relu(F.conv2d(x, weights["0.weight"], weights["0.bias"])).flatten(1)
    x = F.relu(F.linear(x, weights["3.weight"], weights["3.bias"]))
    return F.cross_entropy(F.linear(x, weights["5.weight"], weights["5.bias"]), target)


def initial():
    return dict(network().named_parameters())


def open_gates():
    return {name: torch.ones_like(weight) for name, weight in initial().items() if name in NAMES}


def gated(gates):
    return {name: weight * gates.get(name, 1) for name, weight in initial().items()}


def flat(by_name):
    return {name: values.flatten() for name, values in by_name.items()}


def trained(weights, steps, *, create_graph):
    """Weights after steps of SGD, as `torch.optim.SGD` takes them."""
    velocity = None
    for batch in batches(steps):
        gradients = torch.autograd.grad(loss_at(weights, batch), list(weights.values()), create_graph=create_graph)
        pulled = {name: gradient + DECAY * weights[name] for name, gradient in zip(weights, gradients, strict=True)}
        velocity = pulled if velocity is None else {n: MOMENTUM * velocity[n] + pulled[n] for n in pulled}
        weights = {name: weights[name] - LR * velocity[name] for name in weights}
    return weights


def test_snip_is_the_slope_of_the_loss_over_every_gate():
    expected = slopes(lambda gates: loss_at(gated(gates), batches(1)[0]), open_gates())
    assert_same(make_criterion("snip").score(problem()), flat({n: v.abs() for n, v in expected.items()}))


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_prospr_is_the_slope_of_the_loss_after_training_over_every_gate(steps):
    last = batches(steps + 1)[-1]
    expected = slopes(lambda gates: loss_at(trained(gated(gates), steps, create_graph=True), last), open_gates())
    found = make_criterion("prospr", steps=steps, lr=LR).score(problem(steps + 1))
    assert_same(found, flat({name: values.abs() for name, values in expected.items()}))


def test_prospr_of_first_order_takes_the_last_gradient_alone():
    """Their equation 17: | w_0 * dL_M/dw_M |."""
    weights = initial()
    final = {name: w.detach().requires_grad_() for name, w in trained(weights, 2, create_graph=False).items()}
    gradient = torch.autograd.grad(loss_at(final, batches(3)[-1]), [final[name] for name in NAMES])
    expected = {name: (initial()[name] * g).abs() for name, g in zip(NAMES, gradient, strict=True)}
    assert_same(make_criterion("prospr-first-order", steps=2, lr=LR).score(problem(3)), flat(expected))


def half_gradient_norm(weights, temperature):
    x, target = batches(1)[0]
    x = F.relu(F.conv2d(x, weights["0.weight"], weights["0.bias"])).flatten(1)
    x = F.relu(F.linear(x, weights["3.weight"], weights["3.bias"]))
    output = F.linear(x, weights["5.weight"], weights["5.bias"]) / temperature
    gradients = torch.autograd.grad(F.cross_entropy(output, target), list(weights.values()), create_graph=True)
    return sum(gradient.square().sum() for gradient in gradients) / 2


def test_grasp_is_the_slope_of_the_gradient_norm_above_the_lowest():
    expected = slopes(lambda gates: half_gradient_norm(gated(gates), 200.0), open_gates())
    lowest = min(values.min() for values in expected.values())
    assert lowest < 0
    found = make_criterion("grasp").score(problem())
    assert_same(found, flat({name: values - lowest for name, values in expected.items()}))


def test_grasp_keeps_the_weights_without_which_the_gradient_flows_less():
    """The sign of the paper, by finite differences: |g|^2 / 2 falls most where the highest score closes a little."""
    scores = make_criterion("grasp", temperature=1.0).score(problem())
    falls = {}
    for position in (int(scores["5.weight"].argmax()), int(scores["5.weight"].argmin())):
        norms = []
        for gate in (1.0, 1.0 - 1e-4):
            gates = open_gates()
            gates["5.weight"].view(-1)[position] = gate
            norms.append(half_gradient_norm(gated(gates), 1.0).item())
        falls[position] = norms[0] - norms[1]
    highest, lowest = falls.values()
    assert highest > 0 > lowest


def flow(gates):
    """Sum of the outputs of the network with |w| and without biases for an input of ones."""
    weights = {name: weight.abs() for name, weight in gated(gates).items()}
    x = F.conv2d(torch.ones(1, 2, 4, 4, dtype=torch.float64), weights["0.weight"]).flatten(1)
    return F.linear(F.linear(x, weights["3.weight"]), weights["5.weight"]).sum()


def shares(scores):
    total = sum(values.sum() for values in scores.values())
    return {name: values / total for name, values in scores.items()}


def test_synflow_is_conserved():
    """What flows through a layer is the same for every layer, and what flows into a unit flows out of it."""
    found = make_criterion("synflow", rounds=1).score(problem(1, weight_target(layers(), 0.5)))
    assert_same(shares(found), shares(flat(slopes(flow, open_gates()))))
    sums = torch.stack([values.sum() for values in found.values()])
    assert torch.allclose(sums, sums[:1].expand(3), rtol=1e-12)
    into, out_of = found["3.weight"].view(5, 24).sum(1), found["5.weight"].view(3, 5).sum(0)
    assert torch.allclose(into, out_of, rtol=1e-12)


def layers():
    return find_weights(network(), batches(1)[0][0])


def best_gates(scores, count):
    threshold = torch.cat([values.flatten() for values in scores.values()]).sort(descending=True).values[count - 1]
    return {name: (values >= threshold).double() for name, values in scores.items()}


ROUNDS = [
    (0.25, [122]),  # 243 * 0.25 ** (1/2) = 121.5
    (0.01, [77, 24, 8]),  # 243 * 0.01 ** (k/4): 76.8, 24.3, 7.7, and in the end 2.4
]
"""Density, and how many of the 108 + 120 + 15 = 243 weights stay after each round but the last."""


@pytest.mark.parametrize(("density", "counts"), ROUNDS)
def test_synflow_in_rounds(density, counts):
    gates = open_gates()
    for count in [*counts, None]:
        scores = {name: gates[name] * slope for name, slope in slopes(flow, gates).items()}
        gates = gates if count is None else best_gates(scores, count)
    found = make_criterion("synflow", rounds=len(counts) + 1).score(problem(1, weight_target(layers(), 1 - density)))
    assert_same(shares(found), shares(flat(scores)))


@pytest.mark.parametrize(("density", "counts"), ROUNDS)
@pytest.mark.parametrize("name", ["force", "iter-snip"])
def test_force_and_iterative_snip_in_rounds(name, density, counts):
    """FORCE scores | w * g(c * w) |, so that masked weights may come back, Iterative SNIP | c * w * g(c * w) |."""
    gates, rounds, comebacks = open_gates(), len(counts) + 1, 0
    for batch, count in zip(batches(rounds), [*counts, None], strict=True):
        weights = gated(gates)
        slope = torch.autograd.grad(loss_at(weights, batch), [weights[key] for key in NAMES])
        scores = {key: (initial()[key] * g).abs() for key, g in zip(NAMES, slope, strict=True)}
        if name == "iter-snip":
            scores = {key: gates[key] * values for key, values in scores.items()}
        if count is not None:
            following = best_gates(scores, count)
            comebacks += sum(int((following[key] > gates[key]).sum()) for key in NAMES)
            gates = following
    found = make_criterion(name, rounds=rounds).score(problem(rounds, weight_target(layers(), 1 - density)))
    assert_same(found, flat(scores))
    assert (comebacks > 0) == (name == "force" and rounds > 2)


def test_magnitude_and_random():
    expected = {name: initial()[name].abs() for name in NAMES}
    assert_same(make_criterion("magnitude").score(problem()), flat(expected))
    drawn = make_criterion("random").score(problem())
    assert {name: len(values) for name, values in drawn.items()} == {"0.weight": 108, "3.weight": 120, "5.weight": 15}


@pytest.mark.parametrize("how", ["signed", "absolute"])
@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_draws_are_averaged_as_those_of_channels(name, how):
    groups, data = [layer.group for layer in layers()], batches(3)
    criterion = make_criterion(name)
    found = score_weights(
        network(), groups, data, F.cross_entropy, criterion=name, draws=3, dtype=torch.float64, average=how
    )
    signed = [criterion.signed(replace(problem(), batches=[batch])) for batch in data]
    expected = average(signed, how, criterion)
    assert_same(found.by_group, expected.by_group)
    assert -1 <= found.stability <= 1
    assert found.layer_agreement == pytest.approx(expected.layer_agreement)


def test_one_draw_has_no_stability():
    found = score_weights(network(), [layer.group for layer in layers()], [], F.cross_entropy, criterion="magnitude")
    assert (found.draws, found.stability, found.layer_agreement) == (1, None, None)
    assert sum(float(values.sum()) for values in found.by_group.values()) == pytest.approx(1)


def test_criteria_of_channels_alone_are_refused():
    able = {known.name for known in criteria() if "weights" in getattr(known.make(), "units", ())}
    assert able == {
        "3sp", "force", "grasp", "iter-snip", "magnitude", "prospr", "prospr-first-order",
        "prospr-released", "random", "snip", "synflow",
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"expected a criterion that scores weights \(3sp, force, .*\), got bn-scale"):
        score_weights(network(), [layer.group for layer in layers()], [], F.cross_entropy, criterion="bn-scale")
