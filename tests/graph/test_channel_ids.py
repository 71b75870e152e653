import torch

from slimprune.graph.channel_ids import FIRST_PLACE, ChannelUnionFind, compressed, core, tied, varying


def test_united_numbers_have_one_that_stands_for_them():
    channel_ids = ChannelUnionFind()
    numbers = channel_ids.place("a", 0, 6, "producer")
    channel_ids.unite(numbers[[5, 4, 1]], numbers[[4, 3, 0]])
    assert channel_ids.find(numbers).tolist() == (FIRST_PLACE + torch.tensor([0, 0, 2, 3, 3, 3])).tolist()


def test_a_long_chain_is_followed_to_its_end():
    channel_ids = ChannelUnionFind()
    numbers = channel_ids.place("a", 0, 1000, "producer")
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    for start in range(0, 999, 37):
        part = order[start : start + 38]
        channel_ids.unite(numbers[part[1:]], numbers[part[:-1]])
    assert channel_ids.find(numbers).unique().tolist() == [FIRST_PLACE]


def test_what_meets_an_obstacle_is_protected_for_its_reason_and_not_united():
    channel_ids = ChannelUnionFind()
    numbers = channel_ids.place("a", 0, 3, "producer")
    channel_ids.unite(numbers[:2], torch.tensor([channel_ids.barrier("in the way"), 0]))
    assert [(met.tolist(), reason) for met, reason in channel_ids.protections] == [([FIRST_PLACE], "in the way")]
    assert len(channel_ids.find(numbers).unique()) == 3


def test_compressed_tensors_have_no_stride_where_nothing_changes():
    ids = torch.arange(3).view(1, 3, 1).repeat(2, 1, 4)
    assert varying(compressed(ids)) == {1}
    assert core(compressed(ids)).shape == (1, 3, 1)
    assert torch.equal(compressed(ids), ids)


def test_places_along_an_axis_are_tied_and_padding_is_not():
    channel_ids = ChannelUnionFind()
    numbers = channel_ids.place("a", 0, 4, "producer")
    ids = torch.stack([numbers[:2], numbers[2:], torch.zeros(2, dtype=torch.int64)])  # [positions, channels]
    assert tied(channel_ids, ids, 1).shape == (2,)
    first = FIRST_PLACE
    assert channel_ids.find(numbers).tolist() == [first, first + 1, first, first + 1]


def test_the_strongest_role_of_a_tensor_counts():
    channel_ids = ChannelUnionFind()
    for role in ("consumer", "producer", "scale"):
        channel_ids.place("a", 0, 2, role)
    assert channel_ids.roles["a", 0] == "producer"
