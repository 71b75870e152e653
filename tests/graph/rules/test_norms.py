import pytest
import torch.nn.functional as F
from torch import nn

from tests.graph.following import groups_of, mean


def of(norm, last=False):
    def forward(net, x):
        return mean(net.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if last else net.norm(x))

    return groups_of(forward, norm=norm)["conv"]


ROLES = {
    "batch norm": (nn.BatchNorm2d(8), 8, {"norm"}),
    "batch norm without a gain": (nn.BatchNorm2d(8, affine=False), 8, {"norm"}),
    "instance norm": (nn.InstanceNorm2d(8, affine=True), 8, {"norm"}),
    "many groups": (nn.GroupNorm(4, 8), 4, {"norm"}),
    "few groups": (nn.GroupNorm(2, 8), 4, {"cross-channel-norm"}),
    "one group": (nn.GroupNorm(1, 8), 8, {"cross-channel-norm"}),
    "many groups without a gain": (nn.GroupNorm(4, 8, affine=False), 4, set()),
    "few groups without a gain": (nn.GroupNorm(2, 8, affine=False), 4, set()),
    "layer norm over an image": (nn.LayerNorm([8, 8, 8]), 8, {"cross-channel-norm"}),
}


@pytest.mark.parametrize("name", ROLES)
def test_norms_follow_the_channels(name):
    norm, width, roles = ROLES[name]
    group = of(norm)
    assert (group.protected_reason, group.width) == (None, width)
    assert {slot.role for slot in group.slots if slot.layer == "norm"} == roles


def test_layer_norm_over_channels_that_lie_last():
    group = of(nn.LayerNorm(8), last=True)
    assert (group.width, group.exact) == (8, False)


def test_a_group_norm_that_cannot_be_refitted_is_an_obstacle():
    found = groups_of(lambda net, x: mean(F.group_norm(x, 4)))["conv"]
    assert found.protected_reason == "native_group_norm has no gain and offset"
