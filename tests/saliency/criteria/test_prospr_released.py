import torch

from slimprune.saliency import make_criterion
from tests.saliency.references import assert_same, residual_problem


def test_plain_gradient_descent_on_one_batch():
    """w - 0.1 * grad three times on the same batch, then the slope of the loss there over the first weights."""
    model, ((x, target),), problem = residual_problem()
    names, first = zip(*model.named_parameters(), strict=True)

    def loss(weights):
        output = torch.func.functional_call(model, dict(zip(names, weights, strict=True)), x)
        return torch.nn.functional.cross_entropy(output, target)

    weights = first
    for _ in range(3):
        gradients = torch.autograd.grad(loss(weights), weights, create_graph=True)
        weights = [weight - 0.1 * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    slopes = dict(zip(names, torch.autograd.grad(loss(weights), first), strict=True))
    terms = {name: weight.detach() * slopes[name] for name, weight in zip(names, first, strict=True)}
    expected = {
        "stem": (terms["inner.weight"].sum((0, 2, 3)) + terms["head.weight"].sum(0)).abs(),
        "inner": terms["outer.weight"].sum((0, 2, 3)).abs(),
    }
    criterion = make_criterion("prospr-released")
    assert criterion.batches_per_draw == 1
    assert_same(criterion.score(problem), expected)


def test_its_settings_can_be_changed():
    assert make_criterion("prospr-released", steps=1, momentum=0.9, one_batch=False).batches_per_draw == 2
