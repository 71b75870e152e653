import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import DeformConv2d

from tests.graph.following import groups_of, mean, reason

BARRIERS = {
    "products of channels with each other": (
        lambda net, x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).mean(2),
        "bmm multiplies channels with each other",
    ),
    "a product over channels on one side": (
        lambda net, x: mean(x).unsqueeze(1) @ torch.softmax(x[:, :1].flatten(1)[:, :64].view(-1, 8, 8), -1),
        "bmm reads positions, not channels",
    ),
    "attention in one head": (
        lambda net, x: F.scaled_dot_product_attention(*[x.flatten(2).transpose(1, 2)[:, None].contiguous()] * 3).mean(
            (1, 2)
        ),
        "attention in ",
    ),
    "a linear layer over positions": (lambda net, x: mean(net.rows(x)), "addmm in rows reads positions, not channels"),
    "a convolution along the channels": (
        lambda net, x: net.line(mean(x)[:, None])[:, 0],
        "convolution in line reads positions, not channels",
    ),
    "a weight that is computed from activations": (
        lambda net, x: mean(F.conv2d(x, net.rows.weight[:, :, None, None] * x.mean((0, 2, 3))[:, None, None])),
        "computed from others",
    ),
}


@pytest.mark.parametrize("name", BARRIERS)
def test_channels_that_a_product_cannot_lose_are_protected(name):
    forward, expected = BARRIERS[name]
    assert expected in reason(forward, rows=nn.Linear(8, 8), line=nn.Conv1d(1, 2, 3, padding=1))


def index_of(group, name, dim):
    return next(slot.index.tolist() for slot in group.slots if (slot.name, slot.dim) == (name, dim))


def test_many_groups_go_as_a_whole():
    found = groups_of(lambda net, x: mean(net.grouped(x)), width=16, grouped=nn.Conv2d(8, 16, 1, groups=4))
    assert found["conv"].width == 4
    assert index_of(found["conv"], "conv.weight", 0)[1] == [2, 3]
    assert index_of(found["conv"], "grouped.weight", 0)[1] == [4, 5, 6, 7]


def test_few_groups_lose_one_channel_each():
    found = groups_of(lambda net, x: mean(net.grouped(x)), width=6, grouped=nn.Conv2d(8, 6, 1, groups=2))
    assert index_of(found["conv"], "conv.weight", 0) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert index_of(found["conv"], "grouped.weight", 1) == [[0], [1], [2], [3]]
    assert index_of(found["grouped"], "grouped.weight", 0) == [[0, 3], [1, 4], [2, 5]]


def test_a_parameter_is_a_weight_however_it_is_turned():
    weight = nn.Parameter(torch.rand(6, 8))
    for forward in (
        lambda net, x: mean(x) @ net.weight.t(),
        lambda net, x: torch.einsum("nchw,dc->nd", x, net.weight),
        lambda net, x: (net.weight @ mean(x).t()).t(),
        lambda net, x: mean(F.conv2d(x, net.weight[:, :, None, None])),
    ):
        found = groups_of(forward, 6, weight=weight)
        assert (found["conv"].protected_reason, found["weight"].width) == (None, 6)
        assert index_of(found["conv"], "weight", 1) == [[channel] for channel in range(8)]


def test_entries_of_a_table_make_channels():
    found = groups_of(
        lambda net, x: mean(x) + net.table(torch.zeros(len(x), dtype=torch.int64)), table=nn.Embedding(5, 8)
    )
    assert index_of(found["conv"] if "conv" in found else found["table"], "table.weight", 1)[3] == [3]


def test_a_weight_computed_from_parameters_is_followed():
    def scaled(net, x):
        weight = net.gain * (net.weight - net.weight.mean((1, 2, 3), keepdim=True))
        return mean(F.conv2d(x, weight.permute(1, 0, 2, 3).transpose(0, 1)))

    found = groups_of(scaled, 6, gain=nn.Parameter(torch.rand(6, 1, 1, 1)), weight=nn.Parameter(torch.rand(6, 8, 1, 1)))
    assert (found["conv"].protected_reason, found["weight"].protected_reason) == (None, None)
    assert index_of(found["conv"], "weight", 1) == index_of(found["conv"], "conv.weight", 0)
    assert index_of(found["weight"], "gain", 0) == index_of(found["weight"], "weight", 0)


def test_a_layer_whose_weight_is_computed_from_activations_is_listed():
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(8, 8, 1, 1))

        def forward(self, x):
            return F.conv2d(x, self.weight * x.mean((0, 2, 3))[:, None, None])

    found = groups_of(lambda net, x: mean(net.read(x)), read=Held())
    assert found["conv"].protected_reason == "a weight of read is computed from others"
    assert any(name.startswith("read") and group.protected_reason for name, group in found.items())


def test_heads_go_as_a_whole():
    def in_heads(net, x):
        parts = net.qkv(mean(x)).view(len(x), 1, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(*parts).flatten(1)

    found = groups_of(in_heads, qkv=nn.Linear(8, 24))
    assert index_of(found["qkv"], "qkv.weight", 0) == [
        [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19],
        [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23],
    ]
    assert index_of(found["qkv"], "head.weight", 1) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_single_head_loses_width():
    def attend(net, x):
        x = x.flatten(2).transpose(1, 2)
        return (torch.softmax(net.asks(x) @ net.answers(x).transpose(1, 2), -1) @ net.values(x)).mean(1)

    layers = {name: nn.Linear(8, 6) for name in ("asks", "answers", "values")}
    found = groups_of(attend, 6, **layers)
    assert found["asks"].layers == ("asks", "answers")
    assert {name: group.width for name, group in found.items()} == {"conv": 8, "head": 2, "asks": 6, "values": 6}


def test_offsets_of_a_deformable_convolution_are_coordinates():
    layers = {"offsets": nn.Conv2d(8, 18, 1), "deformed": DeformConv2d(8, 6, 3, padding=1)}
    found = groups_of(lambda net, x: mean(net.deformed(x, net.offsets(x))), 6, **layers)
    assert found["conv"].protected_reason is None
    assert found["deformed"].width == 6
    assert found["offsets"].protected_reason == "torchvision::deform_conv2d in deformed takes coordinates"


def test_one_filter_along_the_channels_leaves_them_apart():
    found = groups_of(
        lambda net, x: mean(x) * net.line(mean(x)[:, None])[:, 0].sigmoid(), line=nn.Conv1d(1, 1, 3, padding=1)
    )
    assert (found["conv"].width, found["conv"].protected_reason) == (8, None)


def test_a_fixed_graph_hands_channels_on():
    edges = torch.rand(3, 8, 8)
    one = groups_of(lambda net, x: mean(torch.einsum("nctv,vw->nctw", x, edges[0])))
    assert (one["conv"].width, one["conv"].protected_reason) == (8, None)
    parts = groups_of(lambda net, x: mean(torch.einsum("nkctv,kvw->nctw", x.view(len(x), 2, 4, 8, 8), edges[:2])), 4)
    assert index_of(parts["conv"], "conv.weight", 0) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert index_of(parts["conv"], "head.weight", 1) == [[0], [1], [2], [3]]
