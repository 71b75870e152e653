from dataclasses import replace

import torch
import torch.nn.functional as F

from slimprune.graph import find_groups
from slimprune.saliency import Problem
from slimprune.saliency.criteria.random import Random
from tests.networks import EXAMPLE, Residual, toy


def test_it_depends_on_the_seed_alone():
    model = toy(Residual)
    prob = Problem.prepare(model, find_groups(model, EXAMPLE), F.mse_loss, "consumer", torch.float32)
    first, again, other = (Random().score(replace(prob, seed=seed))["stem"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert ((first > 0) & (first < 1)).all()
