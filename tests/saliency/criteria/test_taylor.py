import torch.nn.functional as F

from slimprune.saliency.criteria.taylor import Taylor
from tests.saliency.references import assert_same, gated_output, open_gates, residual_problem, slopes


def test_the_signed_sum_is_squared():
    model, ((x, target),), problem = residual_problem()
    found = slopes(lambda gates: F.cross_entropy(gated_output(model, gates, x), target), open_gates())
    assert_same(Taylor().score(problem), {group: slope**2 for group, slope in found.items()})


def test_it_is_the_sum_over_the_weights_that_read_the_channel():
    model, ((x, target),), problem = residual_problem()
    F.cross_entropy(model(x), target).backward()
    products = {name: parameter * parameter.grad for name, parameter in model.named_parameters()}
    stem = products["inner.weight"].sum((0, 2, 3)) + products["head.weight"].sum(0)
    inner = products["outer.weight"].sum((0, 2, 3))
    assert_same(Taylor().score(problem), {"stem": stem**2, "inner": inner**2})
