import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.graph import find_groups
from tests.graph.following import Net, free_width, groups_of, mean, reason
from tests.networks import EXAMPLE

FREE = {
    "activations": lambda net, x: mean(F.hardswish(F.silu(F.relu(x, inplace=True)))),
    "a spatial gate": lambda net, x: mean(x * net.one(x).sigmoid()),
    "a gate that was expanded": lambda net, x: mean(x * net.one(x).expand_as(x)),
    "a position code as a factor": lambda net, x: mean(x * net.code),
    "a factor per channel": lambda net, x: mean(x * net.scale[:, None, None]),
    "one factor for all": lambda net, x: mean(x * net.factor),
    "dropout": lambda net, x: mean(F.dropout2d(F.dropout(x, training=net.training), training=net.training)),
    "written over": lambda net, x: mean(x.clone().copy_(x)),
    "the larger of two": lambda net, x: mean(torch.maximum(x, net.other(x))),
}


def layers():
    return {
        "one": nn.Conv2d(8, 1, 1),
        "other": nn.Conv2d(8, 8, 1),
        "code": nn.Parameter(torch.rand(8, 8)),
        "scale": nn.Parameter(torch.rand(8)),
        "factor": nn.Parameter(torch.rand(())),
    }


@pytest.mark.parametrize("name", FREE)
def test_what_acts_on_each_element_by_itself_leaves_channels_free(name):
    assert free_width(FREE[name], **layers()) == 8


def test_what_meets_is_one_group():
    found = groups_of(lambda net, x: mean(net.scale[:, None, None] * (x + net.other(x))), **layers())
    assert {(slot.name, slot.role) for slot in found["conv"].slots} >= {("other.bias", "producer"), ("scale", "scale")}
    assert "other" not in found


def test_halves_that_gate_each_other_go_together():
    found = groups_of(lambda net, x: mean(F.glu(x, 1)), width=4)
    assert found["conv"].slots[0].index.tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_a_sum_that_is_broadcast_over_channels_is_an_obstacle():
    assert reason(lambda net, x: mean(x + net.one(x)), **layers()) == "add is broadcast over channels"
    net = Net(lambda net, x: mean(x + net.code), layers(), 8)
    (group, _) = find_groups(net, EXAMPLE)
    assert group.protected_reason.startswith("not proven: relative difference")
    assert group.protected_reason.endswith("(add is broadcast over channels)")


def test_what_is_written_into_a_part_of_another_tensor_is_known_there():
    def forward(net, x):
        wide = torch.zeros(len(x), 12, 8, 8)
        wide[:, 4:] = x
        return mean(wide)

    columns = next(slot for slot in groups_of(forward, 12)["conv"].slots if slot.name == "head.weight")
    assert columns.index.tolist() == [[4], [5], [6], [7], [8], [9], [10], [11]]


def test_what_is_written_into_a_tensor_with_channels_last_in_memory_is_known_there():
    def forward(net, x):
        wide = torch.zeros(len(x), 8, 8, 8).contiguous(memory_format=torch.channels_last)
        wide[:, :, 1:] = x[:, :, 1:]
        return mean(wide)

    assert groups_of(forward)["conv"].width == 8
