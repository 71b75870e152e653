from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups
from slimprune.saliency import Problem, score
from slimprune.saliency.criteria.hrank import HRank


def scored(model, images):
    groups = find_groups(model, images[:1])[:2]
    targets = torch.zeros(len(images), dtype=torch.int64)
    problem = Problem.prepare(model, groups, F.cross_entropy, "consumer", torch.float64)
    problem = replace(problem, batches=[(images, targets)])
    return HRank().score(problem), problem


def test_the_rank_of_what_the_next_convolution_reads_is_averaged_over_samples():
    """The first channel is the image, the second its negative part, which ReLU leaves, the third constant."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
        model[2].weight.copy_(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]).view(2, 3, 1, 1))
        model[2].bias.zero_()
    images = torch.stack([torch.eye(4), torch.diag(torch.tensor([1.0, 1.0, -1.0, 0.0]))])[:, None]
    found, problem = scored(model, images)
    assert found["0"].tolist() == [(4 + 2) / 2, (0 + 1) / 2, 1]
    # Nothing but a pooling reads the second group: its maps are those of the layer that produces it.
    assert found["2"].tolist() == [(4 + 2) / 2] * 2
    assert problem.network.training


def test_groups_without_maps_are_refused():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    images = torch.randn(3, 4)
    groups = find_groups(model, images)
    batches = [(images, torch.zeros(3, dtype=torch.int64))]
    with pytest.raises(UnsupportedModelError, match=r"expected feature maps \[N, C, H, W\] of every group, got none"):
        score(model, groups, batches, F.cross_entropy, criterion="hrank", draws=1)
