import copy

import pytest
import torch
import torch.nn.functional as F

from slimprune.errors import UsageError
from slimprune.saliency.criteria.grasp import GraSP
from tests.saliency.references import assert_same, residual_problem


def half_gradient_norm(model, x, target, temperature, **options):
    """|g|^2 / 2 of the loss at output / temperature."""
    loss = F.cross_entropy(model(x) / temperature, target)
    gradients = torch.autograd.grad(loss, list(model.parameters()), **options)
    return sum(gradient.square().sum() for gradient in gradients) / 2


def signed(model, x, target, temperature):
    """Sums of w * Hg over the columns that read a channel; Hg is the gradient of |g|^2 / 2."""
    flow = half_gradient_norm(model, x, target, temperature, create_graph=True)
    names, weights = zip(*model.named_parameters(), strict=True)
    product = dict(zip(names, torch.autograd.grad(flow, weights), strict=True))
    terms = {name: weight.detach() * product[name] for name, weight in zip(names, weights, strict=True)}
    return {
        "stem": terms["inner.weight"].sum((0, 2, 3)) + terms["head.weight"].sum(0),
        "inner": terms["outer.weight"].sum((0, 2, 3)),
    }


@pytest.mark.parametrize("temperature", [200.0, 1.0])
def test_signed_sums_above_the_lowest(temperature):
    model, ((x, target),), problem = residual_problem()
    expected = signed(model, x, target, temperature)
    lowest = min(values.min() for values in expected.values())
    assert lowest < 0
    found = GraSP(temperature).score(problem)
    assert_same(found, {group: values - lowest for group, values in expected.items()})
    assert min(values.min() for values in found.values()) == 0


def test_by_magnitude():
    model, ((x, target),), problem = residual_problem()
    expected = {group: values.abs() for group, values in signed(model, x, target, 200.0).items()}
    assert_same(GraSP(by_magnitude=True).score(problem), expected)


def test_a_high_score_means_that_the_gradient_flows_less_without_the_channel():
    """The sign of the paper, by finite differences: the more |g|^2 falls when a gate closes a little, the better."""
    model, ((x, target),), problem = residual_problem()
    found, falls = GraSP(1.0).score(problem)["inner"], []
    for channel in range(5):
        norms = []
        for gate in (1 + 1e-5, 1 - 1e-5):
            other = copy.deepcopy(model)
            with torch.no_grad():
                other.outer.weight[:, channel] *= gate
            norms.append(float(half_gradient_norm(other, x, target, 1.0)))
        falls.append((norms[0] - norms[1]) / 2e-5)
    differences = torch.tensor(falls, dtype=torch.float64)
    assert torch.allclose(found - found[0], differences - differences[0], rtol=1e-5, atol=1e-6 * float(found.max()))
    assert found.argsort().tolist() == differences.argsort().tolist()


def test_frozen_weights_have_no_gradient_that_flows():
    model, ((x, target),), problem = residual_problem()
    for network in (model, problem.network):
        network.stem.weight.requires_grad_(False)
    loss = F.cross_entropy(model(x), target)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    flow = sum(gradient.square().sum() for gradient in torch.autograd.grad(loss, trained, create_graph=True)) / 2
    (product,) = torch.autograd.grad(flow, model.outer.weight)
    inner = (model.outer.weight.detach() * product).sum((0, 2, 3))
    found = GraSP(1.0, by_magnitude=True).score(problem)["inner"]
    assert torch.allclose(found, inner.abs(), rtol=1e-8)


def test_a_temperature_is_above_zero():
    with pytest.raises(UsageError, match=r"expected temperature > 0, got 0\.0"):
        GraSP(0.0)
