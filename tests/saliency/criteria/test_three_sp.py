from dataclasses import replace

import torch
import torch.nn.functional as F

from slimprune.graph import find_groups, free_groups
from slimprune.saliency import Problem
from slimprune.saliency.criteria.three_sp import ThreeSP
from tests.networks import EXAMPLE, Concat, Flatten, toy


def by_hand(kind):
    torch.manual_seed(4)
    model = toy(kind).double()
    batch = (torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.randint(0, 4, (8,)))
    groups = free_groups(find_groups(model, EXAMPLE.double()))
    prob = replace(Problem.prepare(model, groups, F.cross_entropy, "consumer", torch.float64), batches=[batch])
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    return model, ThreeSP().score(prob)


def test_it_is_the_channel_form_of_snip():
    """The absolute value of the sum of weight * gradient over the columns that read the channel."""
    model, scores = by_hand(Concat)
    columns = (model.merge.weight * model.merge.weight.grad).sum((0, 2, 3))
    assert torch.allclose(scores["left"], columns[:4].abs(), rtol=1e-9)
    assert torch.allclose(scores["right"], columns[4:].abs(), rtol=1e-9)


def test_a_flattened_channel_has_all_its_columns():
    model, scores = by_hand(Flatten)
    columns = (model.hidden.weight * model.hidden.weight.grad).sum(0)
    assert torch.allclose(scores["conv"], columns.view(6, 4).sum(1).abs(), rtol=1e-9)
