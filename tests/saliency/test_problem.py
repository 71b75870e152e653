from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups, free_groups
from slimprune.saliency import GATES, Problem
from slimprune.saliency.problem import precise_arithmetic
from tests.graph.patterns import TiedWeights
from tests.networks import EXAMPLE, TOYS, Depthwise, Residual, toy


def problem(kind=Residual, gate="consumer", dtype=torch.float64):
    model = toy(kind)
    torch.manual_seed(2)
    batch = (torch.randn(8, 3, 8, 8), torch.randint(0, 4, (8,)))
    groups = free_groups(find_groups(model, EXAMPLE))
    return replace(Problem.prepare(model, groups, F.cross_entropy, gate, dtype), batches=[batch])


def test_gates_before_a_norm_measure_nothing_at_the_start():
    """A batch norm in training mode undoes the scale of what it reads: the paper's placement has gradient 0."""
    at = {gate: problem(gate=gate) for gate in ("producer", "consumer", "norm")}
    gates = {name: prob.gate_gradient(prob.gradient(prob.initial, 0)) for name, prob in at.items()}
    for group in ("stem", "inner"):
        largest = gates["consumer"][group].abs().max()
        # not 0 exactly: the norm adds eps to the variance
        assert gates["producer"][group].abs().max() < 1e-3 * largest
        assert gates["norm"][group].abs().max() > 0.1 * largest


def test_norm_and_consumer_gates_agree_where_the_norm_is_last():
    prob = problem(Depthwise)
    gradient = prob.gradient(prob.initial, 0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))
    groups = free_groups(find_groups(model, EXAMPLE))
    one = replace(Problem.prepare(model, groups, F.cross_entropy, "consumer", torch.float64), batches=prob.batches)
    gradient = one.gradient(one.initial, 0)
    consumer, norm = (replace(one, gate=gate).gate_gradient(gradient)["0"] for gate in ("consumer", "norm"))
    assert torch.allclose(consumer, norm, rtol=1e-9, atol=1e-14)


def test_groups_without_a_norm_use_their_consumers():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 6), nn.Flatten())
    groups = free_groups(find_groups(model, EXAMPLE))
    batch = (torch.randn(8, 3, 8, 8), torch.randint(0, 4, (8,)))
    prob = replace(Problem.prepare(model, groups, F.cross_entropy, "norm", torch.float64), batches=[batch])
    gradient = prob.gradient(prob.initial, 0)
    assert torch.equal(prob.gate_gradient(gradient)["0"], replace(prob, gate="consumer").gate_gradient(gradient)["0"])


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("kind", TOYS)
def test_gated_weights_move_by_what_the_gate_gradient_sums(kind, gate):
    prob = replace(problem(kind, gate), loss=lambda output, _: output.square().sum())
    gates = {group.id: torch.rand(group.width, dtype=torch.float64).requires_grad_() for group in prob.groups}
    weights = prob.gated(gates)
    slopes = torch.autograd.grad(prob.loss_at(weights, 0), list(gates.values()))
    found = prob.gate_gradient(prob.gradient(weights, 0))
    for group, slope in zip(gates, slopes, strict=True):
        assert torch.allclose(found[group], slope, rtol=1e-9, atol=1e-12)


def test_open_gates_and_gates_left_out_are_the_initial_weights():
    prob = problem()
    open_gates = {group.id: torch.ones(group.width) for group in prob.groups}
    assert torch.equal(prob.gated(open_gates), prob.initial)
    assert torch.equal(prob.gated({}), prob.initial)


def test_a_closed_gate_takes_every_column_that_reads_the_channel():
    prob = problem()
    closed = prob.named(prob.gated({"stem": torch.tensor([1, 0, 1, 1, 1, 1])}))
    dense = prob.named(prob.initial)
    for name, weight in dense.items():
        expected = weight.clone()
        if name in ("inner.weight", "head.weight"):
            expected[:, 1] = 0
        assert torch.equal(closed[name], expected)


def test_groups_that_only_tied_weights_read_use_what_makes_them():
    prob = problem(TiedWeights)
    gates = prob.gate_gradient(prob.gradient(prob.initial, 0))
    assert gates["inner"].abs().max() > 0


def test_hessian_product_equals_a_difference_of_gradients():
    prob = problem()
    direction = torch.randn_like(prob.initial)
    step = 1e-6
    ahead, behind = (prob.gradient(prob.initial + sign * step * direction, 0) for sign in (1, -1))
    product = prob.hessian_product(prob.initial, 0, direction)
    assert torch.allclose(product, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6 * float(product.abs().max()))


def test_hessian_of_a_linear_loss_is_zero():
    model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten())
    prob = Problem.prepare(model, (), lambda output, _: output.sum(), "consumer", torch.float64)
    prob = replace(prob, batches=[(torch.randn(2, 3, 8, 8), torch.zeros(2))])
    assert not prob.hessian_product(prob.initial, 0, torch.ones_like(prob.initial)).any()


def test_the_model_and_its_statistics_are_untouched():
    model = toy(Residual).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prob = replace(
        Problem.prepare(model, (), F.cross_entropy, "consumer", torch.float32),
        batches=[(torch.randn(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))],
    )
    own = {name: buffer.clone() for name, buffer in prob.network.named_buffers()}
    prob.hessian_product(prob.initial, 0, prob.initial)
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(own[name], buffer) for name, buffer in prob.network.named_buffers())


def test_a_fully_frozen_model_is_refused():
    with pytest.raises(UnsupportedModelError, match="got a fully frozen model"):
        Problem.prepare(toy(Residual).requires_grad_(False), (), F.cross_entropy, "consumer", torch.float32)


def test_arithmetic_settings_are_restored():
    torch.backends.cuda.matmul.allow_tf32 = True
    before = torch.backends.cudnn.allow_tf32
    with precise_arithmetic():
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
    torch.backends.cuda.matmul.allow_tf32 = False
