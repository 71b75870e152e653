"""The meta-gradient against an independent, fully unrolled reference and against finite differences."""

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from slimprune.errors import UsageError
from slimprune.graph import find_groups, free_groups
from slimprune.models import InputSpec, build
from slimprune.saliency import InnerTraining, Problem, final_weights, meta_gradient, trajectory
from tests.networks import Residual, toy

PLAIN = InnerTraining(steps=3, lr=0.1, momentum=0.0, weight_decay=0.0)
SETTINGS = {
    "plain": PLAIN,
    "momentum": replace(PLAIN, momentum=0.9),
    "weight decay": replace(PLAIN, momentum=0.9, weight_decay=0.05),
    "dampening": replace(PLAIN, momentum=0.9, weight_decay=0.05, dampening=0.3),
    "nesterov": replace(PLAIN, momentum=0.9, weight_decay=0.05, nesterov=True),
    "nesterov and dampening": replace(PLAIN, momentum=0.8, dampening=0.4, nesterov=True),
    "no steps": replace(PLAIN, steps=0),
    "one step": replace(PLAIN, steps=1, momentum=0.9),
}


def residual():
    return toy(Residual), [(torch.randn(6, 3, 8, 8), torch.randint(0, 4, (6,))) for _ in range(4)], F.cross_entropy


def unet():
    model = build("unet:depth=1,width=4", InputSpec(3, 8, 8, 1))
    batches = [(torch.randn(3, 3, 8, 8), torch.randint(0, 2, (3, 1, 8, 8)).float()) for _ in range(4)]
    return model, batches, F.binary_cross_entropy_with_logits


def partly_frozen():
    model, batches, loss = residual()
    model.inner.weight.requires_grad_(False)
    return model, batches, loss


CASES = {"residual": residual, "unet": unet, "partly frozen": partly_frozen}


def problem(case, gate="consumer"):
    torch.manual_seed(5)
    model, batches, loss = CASES[case]()
    groups = free_groups(find_groups(model, batches[0][0]))
    return replace(Problem.prepare(model, groups, loss, gate, torch.float64), batches=batches)


def gated(prob, gates, roles=("consumer",)):
    """Initial weights times the gates, written out slot by slot."""
    weights = {name: parameter.detach() for name, parameter in prob.network.named_parameters()}
    for group in prob.groups:
        for slot in group.slots:
            if slot.role in roles and slot.name in weights:
                along = torch.ones(weights[slot.name].shape[slot.dim], dtype=torch.float64)
                spread = gates[group.id].repeat_interleave(slot.entries)
                along = along.index_put((slot.index.flatten(),), spread)
                shape = [1] * weights[slot.name].ndim
                shape[slot.dim] = -1
                weights[slot.name] = weights[slot.name] * along.view(shape)
    return weights


def unrolled(prob, training, roles=("consumer",)):
    """d L_M / d c with the whole inner training in one autograd graph."""
    gates = {group.id: torch.ones(group.width, dtype=torch.float64, requires_grad=True) for group in prob.groups}
    weights = gated(prob, gates, roles)
    frozen = {name for name, parameter in prob.network.named_parameters() if not parameter.requires_grad}
    velocity = None

    def loss(step):
        buffers = {name: buffer.clone() for name, buffer in prob.network.named_buffers()}
        inputs, target = prob.batches[step]
        target = target.double() if target.is_floating_point() else target
        return prob.loss(functional_call(prob.network, {**weights, **buffers}, (inputs.double(),)), target)

    for step in range(training.steps):
        tensors = [w if w.requires_grad else w.requires_grad_() for w in weights.values()]
        gradients = torch.autograd.grad(loss(step), tensors, create_graph=True)
        gradients = [g + training.weight_decay * w for g, w in zip(gradients, tensors, strict=True)]
        if velocity is None:
            velocity = gradients
        else:
            blend = 1 - training.dampening
            velocity = [training.momentum * v + blend * g for v, g in zip(velocity, gradients, strict=True)]
        moves = velocity
        if training.nesterov:
            moves = [g + training.momentum * v for g, v in zip(gradients, velocity, strict=True)]
        weights = {
            name: w if name in frozen else w - training.lr * move
            for (name, w), move in zip(weights.items(), moves, strict=True)
        }
    return dict(zip(gates, torch.autograd.grad(loss(training.steps), list(gates.values())), strict=True))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("training", SETTINGS.values(), ids=SETTINGS)
def test_equals_the_unrolled_graph(case, training):
    prob = problem(case)
    found = prob.gate_gradient(meta_gradient(prob, training))
    expected = unrolled(prob, training)
    for group in prob.groups:
        difference = (found[group.id] - expected[group.id]).abs().max()
        assert difference <= 1e-9 * expected[group.id].abs().max()


@pytest.mark.parametrize("name", ["momentum", "weight decay", "nesterov"])
@pytest.mark.parametrize(("gate", "roles"), [("norm", ("norm",)), ("producer", ("producer",))])
def test_equals_the_unrolled_graph_at_the_other_placements(gate, roles, name):
    prob = problem("residual", gate)
    found = prob.gate_gradient(meta_gradient(prob, SETTINGS[name]))
    expected = unrolled(prob, SETTINGS[name], roles)
    for group in prob.groups:
        difference = (found[group.id] - expected[group.id]).abs().max()
        assert difference <= 1e-9 * expected[group.id].abs().max()


@pytest.mark.parametrize("group_id", ["stem", "inner"])
@pytest.mark.parametrize("name", ["plain", "momentum", "weight decay", "nesterov", "dampening"])
def test_equals_finite_differences_of_real_training(name, group_id):
    training, prob = SETTINGS[name], problem("residual")
    found = prob.gate_gradient(meta_gradient(prob, training))[group_id]

    def final_loss(channel, shift):
        gates = {group.id: torch.ones(group.width, dtype=torch.float64) for group in prob.groups}
        gates[group_id][channel] += shift
        network = toy(Residual).double().train()
        network.load_state_dict({**prob.network.state_dict(), **gated(prob, gates)})
        options = {"nesterov": True} if training.nesterov else {"dampening": training.dampening}
        sgd = torch.optim.SGD(
            network.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay, **options
        )
        for step in range(training.steps):
            sgd.zero_grad()
            prob.loss(network(prob.batches[step][0].double()), prob.batches[step][1]).backward()
            sgd.step()
        return prob.loss(network(prob.batches[3][0].double()), prob.batches[3][1]).item()

    step = 1e-5
    for channel in range(len(found)):
        slope = (final_loss(channel, step) - final_loss(channel, -step)) / (2 * step)
        assert abs(slope - float(found[channel])) <= 1e-4 * float(found.abs().max())


def test_weights_in_host_memory_give_the_same():
    prob = problem("residual")
    kept, moved = (meta_gradient(prob, SETTINGS["momentum"], on_host=on_host) for on_host in (False, True))
    assert torch.equal(kept, moved)


SMALL = nn.Sequential(
    nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(6 * 16, 4)
)


def small(dtype=torch.float32, kind=Problem):
    torch.manual_seed(5)
    batches = [(torch.randn(4, 3, 6, 6), torch.randint(0, 4, (4,))) for _ in range(10)]
    return replace(kind.prepare(SMALL, [], F.cross_entropy, "consumer", dtype), batches=batches)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("plain", torch.float32), ("weight decay", torch.float32), ("nesterov and dampening", torch.float64)],
)
def test_fewer_stored_steps_give_the_same_to_the_last_bit(name, dtype):
    prob = small(dtype)
    for steps in range(1, 10):
        training = replace(SETTINGS[name], steps=steps)
        expected = meta_gradient(prob, training)
        for stored in {1, 2, (steps + 1) // 2, steps - 1} - {0}:
            assert torch.equal(meta_gradient(prob, training, steps_stored=stored, on_host=stored == 2), expected)


class Counting(Problem):
    """Counts the vectors of the size of the weights that are in memory when a loss is computed."""

    counts: ClassVar[list[int]] = []

    def loss_at(self, weights, step):
        vectors = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.shape == weights.shape]
        self.counts.append(len({one.untyped_storage().data_ptr() for one in vectors if one.dtype == weights.dtype}))
        return super().loss_at(weights, step)


def test_no_stored_step_at_all_is_refused():
    with pytest.raises(UsageError, match="expected steps_stored >= 1, got 0"):
        meta_gradient(small(), PLAIN, steps_stored=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_no_more_vectors_are_in_memory_than_may_be_stored(momentum):
    prob, training = small(kind=Counting), replace(PLAIN, steps=9, momentum=momentum)
    for stored in (2, 4):
        prob.counts.clear()
        meta_gradient(prob, training, steps_stored=stored)
        # the initial weights, weights and velocity of the present step, the adjoint's two vectors, and a direction
        assert max(prob.counts) <= stored + 6


def test_dropout_is_the_same_when_a_step_is_computed_again():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 4))
    groups = free_groups(find_groups(model, torch.zeros(1, 3, 8, 8)))
    batches = [(torch.randn(6, 3, 8, 8), torch.randint(0, 4, (6,))) for _ in range(3)]
    prob = replace(Problem.prepare(model, groups, F.cross_entropy, "consumer", torch.float64), batches=batches)
    weights = prob.initial
    assert prob.loss_at(weights, 1) == prob.loss_at(weights, 1)
    assert prob.loss_at(weights, 1) != replace(prob, seed=1).loss_at(weights, 1)
    training = replace(PLAIN, steps=2, momentum=0.9)
    state = torch.random.get_rng_state()
    expected = _unrolled_with_dropout(prob, training)
    found = prob.gate_gradient(meta_gradient(prob, training))["0"]
    assert torch.allclose(found, expected, rtol=1e-9)
    assert torch.equal(torch.random.get_rng_state(), state)


def _unrolled_with_dropout(prob, training):
    weights, velocity = prob.initial.clone().requires_grad_(), 0
    start = weights
    for step in range(training.steps):
        (gradient,) = torch.autograd.grad(prob.loss_at(weights, step), weights, create_graph=True)
        velocity = training.momentum * velocity + gradient
        weights = weights - training.lr * velocity
    (adjoint,) = torch.autograd.grad(prob.loss_at(weights, training.steps), start)
    return prob.gate_gradient(adjoint)["0"]


def test_trajectory_is_that_of_sgd():
    prob, training = problem("residual"), SETTINGS["nesterov"]
    network = toy(Residual).double().train()
    network.load_state_dict(prob.network.state_dict())
    sgd = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=0.05, nesterov=True)
    for step in range(3):
        sgd.zero_grad()
        prob.loss(network(prob.batches[step][0].double()), prob.batches[step][1]).backward()
        sgd.step()
    expected = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert torch.allclose(final_weights(prob, training), expected, rtol=1e-10, atol=1e-12)


def test_trajectory_holds_neither_weights_nor_batches_that_are_behind():
    """Hundreds of steps on batches that are made when they are asked for."""
    prob, given = problem("residual"), []

    class Made(Sequence):
        def __len__(self):
            return 301

        def __getitem__(self, step):
            batch = torch.full((2, 3, 8, 8), step / 301.0), torch.tensor([0, 1])
            given.append((step, weakref.ref(batch[0])))
            return batch

    visited = []
    for weights in trajectory(replace(prob, batches=Made()), replace(PLAIN, steps=300)):
        visited.append(weakref.ref(weights))
    del weights
    assert [step for step, _ in given] == list(range(300))
    assert len(visited) == 301
    assert sum(batch() is not None for _, batch in given) <= 1
    # the first are the problem's own initial weights
    assert sum(weights() is not None for weights in visited[1:]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "expected steps >= 0, got -1"),
        ({"lr": 0.0}, "expected inner_lr > 0, got 0.0"),
        ({"momentum": 1.0}, r"expected inner_momentum in \[0, 1\), got 1.0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        InnerTraining(**options)


_PEAK = """
import resource, sys, torch, torch.nn.functional as F
from torch import nn
from slimprune.graph import find_groups
from slimprune.saliency import score
from slimprune.saliency.criteria.prospr import ProsPr

torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(192, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10))
groups = find_groups(model, torch.zeros(1, 192))
batch = (torch.randn(8, 192), torch.randint(0, 10, (8,)))
score(model, groups, [batch] * 20, F.cross_entropy, criterion=ProsPr(steps=int(sys.argv[1]), lr=1e-3), draws=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, sum(p.numel() for p in model.parameters()))
"""


def test_memory_grows_by_the_stored_weights_only():
    def peak(steps):
        command = [sys.executable, "-c", _PEAK, str(steps)]
        environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})
        return map(int, output.stdout.split())

    (short, params), (long, _) = peak(3), peak(12)
    stored = 9 * params * 4
    assert long - short <= 1.1 * stored
