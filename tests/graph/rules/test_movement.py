import pytest
import torch
import torch.nn.functional as F

from tests.graph.following import free_width, groups_of, index, mean, reason


def regroup(x, *shape):
    return x.view(len(x), *shape, 8, 8)


WIDTHS = {
    "padding of positions": (lambda net, x: mean(F.pad(x, (1, 1, 1, 1))), 8),
    "rolled and flipped positions": (lambda net, x: mean(x.roll(2, 3).flip(2)), 8),
    "channels in reverse": (lambda net, x: mean(x.flip(1)), 8),
    "selected positions": (lambda net, x: mean(x[:, :, index(0, 3)]), 8),
    "nearest neighbours": (lambda net, x: mean(F.interpolate(x, scale_factor=2)), 8),
    "two chunks": (lambda net, x: mean(torch.cat(x.chunk(2, 1)[::-1], 1)), 4),
    "two halves by slices": (lambda net, x: mean(torch.cat([x[:, 4:], x[:, :4]], 1)), 4),
    "a shuffle by views": (lambda net, x: mean(regroup(x, 2, 4).transpose(1, 2).flatten(1, 2)), 4),
    "a shuffle": (lambda net, x: mean(F.channel_shuffle(x, 4)), 2),
    "maxima of pairs": (lambda net, x: mean(regroup(x, 4, 2).amax(2).repeat_interleave(2, 1)), 4),
    "repeated": (lambda net, x: mean(x.repeat(1, 2, 1, 1)), 8, 16),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_moved_channels_stay_known(name):
    forward, expected, *width = WIDTHS[name]
    assert free_width(forward, *width) == expected


BY_NUMBER = {
    "roll": (lambda net, x: mean(x.roll(1, 1)), 8),
    "index": (lambda net, x: mean(x[:, index(1, 0, 2, 3, 4, 5, 6, 7)]), 8),
    "index_select": (lambda net, x: mean(x.index_select(1, index(0, 2))), 2),
    "select": (lambda net, x: x[:, 3].mean(2), 8),
}


@pytest.mark.parametrize("name", BY_NUMBER)
def test_channels_that_the_code_knows_by_number_stay(name):
    assert reason(*BY_NUMBER[name]) == f"{name} picks channels by number"


def put(target, where, values):
    target[where] = values
    return target


PUT = {
    "rows": (lambda net, x: mean(put(torch.zeros_like(x), (slice(None), slice(None), index(1, 2)), x[:, :, :2])), 8),
    "where a condition holds": (lambda net, x: mean(put(x.clone(), x < 0, 0.0)), 8),
    "where a condition on positions holds": (
        lambda net, x: mean(put(x * 1, (slice(None), slice(None), torch.eye(8) > 0), 0.0)),
        8,
    ),
    "chosen channels": (lambda net, x: mean(put(torch.zeros_like(x), (slice(None), index(1, 2)), x[:, :2])), None),
}


@pytest.mark.parametrize("name", PUT)
def test_what_is_written_by_index(name):
    forward, expected = PUT[name]
    assert free_width(forward) == expected


def test_channels_that_are_written_to_others_are_one():
    first_to_last = groups_of(
        lambda net, x: mean(put(x.clone(), (slice(None), slice(None), index(0)), x.flip(1)[:, :, :1]))
    )
    assert first_to_last["conv"].width == 4


def test_columns_of_a_permuted_flatten_lie_apart():
    found = groups_of(lambda net, x: F.avg_pool2d(x, 4).permute(0, 2, 3, 1).flatten(1), 32)
    columns = next(slot for slot in found["conv"].slots if slot.name == "head.weight")
    assert columns.index[1].tolist() == [1, 9, 17, 25]


def test_neighbourhoods_are_columns():
    found = groups_of(lambda net, x: F.unfold(x, 2).mean(2), 32)
    columns = next(slot for slot in found["conv"].slots if slot.name == "head.weight")
    assert columns.index[1].tolist() == [4, 5, 6, 7]
