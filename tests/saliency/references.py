"""The residual toy with its gates written out as factors on what the consumers read, in plain torch."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from slimprune.graph import find_groups, free_groups
from slimprune.saliency import Problem
from tests.networks import EXAMPLE, Residual, toy


def gated_output(model, gates, x):
    """Output of `Residual`; gates `stem` [6] and `inner` [5] multiply the inputs of the layers that read them."""
    x = F.relu(model.stem_bn(model.stem(x)))
    y = F.relu(model.inner_bn(model.inner(x * gates["stem"].view(-1, 1, 1))))
    x = F.relu(x + model.outer_bn(model.outer(y * gates["inner"].view(-1, 1, 1))))
    return model.head((x * gates["stem"].view(-1, 1, 1)).mean((2, 3)))


def open_gates():
    return {"stem": torch.ones(6, dtype=torch.float64), "inner": torch.ones(5, dtype=torch.float64)}


def slopes(loss, gates):
    """d loss(gates) / d gates by autograd; `loss` maps gates to a scalar."""
    leaves = {group: gate.clone().requires_grad_() for group, gate in gates.items()}
    found = torch.autograd.grad(loss(leaves), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def best(scores, count):
    """Gates with the `count` best channels of both groups open."""
    values = torch.cat([scores["stem"], scores["inner"]])
    threshold = values.sort(descending=True).values[count - 1]
    return {group: (group_scores >= threshold).double() for group, group_scores in scores.items()}


def residual_problem(count=1, target=None, seed=4):
    """The model in float64 and training mode, `count` batches, and the problem of scoring it."""
    model = toy(Residual).double().train()
    generator = torch.Generator().manual_seed(seed)
    batches = [
        (
            torch.randn(8, 3, 8, 8, dtype=torch.float64, generator=generator),
            torch.randint(0, 4, (8,), generator=generator),
        )
        for _ in range(count)
    ]
    groups = free_groups(find_groups(model, EXAMPLE.double()))
    problem = Problem.prepare(model, groups, F.cross_entropy, "consumer", torch.float64)
    return model, batches, replace(problem, batches=batches, target=target)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    largest = max(float(values.detach().abs().max()) for values in expected.values())
    for group, values in expected.items():
        assert (found[group] - values).abs().max() <= 1e-8 * largest, group
