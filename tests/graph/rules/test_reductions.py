import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.graph.following import free_width, groups_of, mean, reason

JOINED = {
    "softmax": (lambda net, x: mean(x.softmax(1)), "_softmax joins several channels"),
    "mean": (lambda net, x: mean(x) * x.flatten(2).mean(1).mean(1, True), "mean joins several channels"),
    "mean over channels and positions": (lambda net, x: mean(x - x.mean((1, 2), True)), "mean joins several channels"),
    "order": (lambda net, x: mean(x.sort(1)[0]), "sort joins several channels"),
    "running sum": (lambda net, x: mean(x.cumsum(1)), "cumsum joins several channels"),
    "pooling": (lambda net, x: F.avg_pool1d(mean(x)[:, None], 3, 1, 1)[:, 0], "avg_pool2d joins several channels"),
    "local response": (lambda net, x: mean(F.local_response_norm(x, 3)), "avg_pool3d joins several channels"),
}


@pytest.mark.parametrize("name", JOINED)
def test_what_joins_channels_protects_them(name):
    forward, expected = JOINED[name]
    assert reason(forward) == expected


KEPT = {
    "positions, one dimension at a time": lambda net, x: x.flatten(2).mean(-1),
    "maxima and minima": lambda net, x: x.amax((2, 3)) - x.flatten(2).min(2)[0],
    "pooling and resampling": lambda net, x: mean(F.interpolate(F.max_pool2d(x, 2), size=(5, 5), mode="bilinear")),
    "softmax over positions": lambda net, x: mean(x.softmax(3)),
    "sampling": lambda net, x: mean(F.grid_sample(x, torch.zeros(len(x), 4, 4, 2), align_corners=False)),
}


SUMMED = {
    "length": lambda net, x: F.normalize(mean(x), dim=1),
    "sum": lambda net, x: mean(x / (1 + x.abs().sum(1, keepdim=True))),
    "a norm by hand": lambda net, x: mean((x - x.mean(1, True)) / x.std(1, keepdim=True)),
    "the largest of all channels": lambda net, x: mean(x * x.amax(1, keepdim=True)),
    "a gate by mean and maximum": lambda net, x: mean(x * (x.mean(1) + x.max(1)[0])[:, None].sigmoid()),
    "an assertion": lambda net, x: mean(x) if not x.isnan().any() else None,
    "a number for the log": lambda net, x: mean(x) if x.mean().item() < 1e9 else None,
}


@pytest.mark.parametrize("name", SUMMED)
def test_sums_and_statistics_over_channels_leave_them_to_the_proof(name):
    assert free_width(SUMMED[name]) == 8


@pytest.mark.parametrize("name", KEPT)
def test_what_joins_positions_of_one_channel_keeps_it(name):
    assert free_width(KEPT[name]) == 8


def test_branches_in_a_stack_that_are_averaged_are_one_group():
    found = groups_of(lambda net, x: mean(torch.stack([x, net.other(x)]).mean(0)), other=nn.Conv2d(8, 8, 1))
    assert found["conv"].layers == ("conv", "other")
    assert found["conv"].width == 8


def test_a_sum_of_parts_ties_the_parts():
    assert free_width(lambda net, x: mean(x.view(len(x), 4, 2, 8, 8).sum(1)), 2) == 2
