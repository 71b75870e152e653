import pytest
import torch
from torch import nn

from slimprune.graph import keep_channels
from slimprune.graph.narrow_attention import NarrowAttention, narrow_attention

QUERIES, KEYS = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
FUTURE = torch.triu(torch.ones(5, 7, dtype=torch.bool), 1)
PADDING = torch.arange(7) >= torch.tensor([[6], [7]])
MASKS = {
    "none": {},
    "numbers": {"attn_mask": torch.randn(5, 7)},
    "positions and padding": {"attn_mask": FUTURE, "key_padding_mask": PADDING},
    "of each head": {"attn_mask": torch.randn(2 * 4, 5, 7)},
    "causal": {"attn_mask": FUTURE, "is_causal": True},
}


def both(**options):
    """A layer of torch and one with the same weights that computes by its tensors."""
    dense = nn.MultiheadAttention(8, 4, **options).eval()
    narrow = nn.MultiheadAttention(8, 4, **options).eval()
    narrow.load_state_dict(dense.state_dict())
    narrow_attention(narrow)
    assert type(narrow) is NarrowAttention
    return dense, narrow


def assert_equal(expected, found):
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("weights", [True, False])
def test_with_all_heads_it_is_the_layer_of_torch(mask, weights):
    dense, narrow = both(batch_first=True)
    call = {**MASKS[mask], "need_weights": weights}
    assert_equal(dense(QUERIES, KEYS, KEYS, **call), narrow(QUERIES, KEYS, KEYS, **call))


def test_sequences_first_single_samples_and_weights_of_each_head():
    dense, narrow = both(bias=False, kdim=8, vdim=6)
    queries, keys, values = QUERIES.transpose(0, 1), KEYS.transpose(0, 1), torch.randn(7, 2, 6)
    assert_equal(dense(queries, keys, values), narrow(queries, keys, values))
    whole = {"average_attn_weights": False}
    assert_equal(dense(queries, keys, values, **whole), narrow(queries, keys, values, **whole))
    one, padding = (queries[:, 0], keys[:, 0], values[:, 0]), {"key_padding_mask": PADDING[0]}
    assert_equal(dense(*one, **padding), narrow(*one, **padding))


def test_entries_without_an_input_and_other_classes_are_left_alone():
    class Own(nn.MultiheadAttention):
        pass

    for layer in (
        nn.MultiheadAttention(8, 4, add_bias_kv=True),
        nn.MultiheadAttention(8, 4, add_zero_attn=True),
        Own(8, 4),
    ):
        kind = type(layer)
        narrow_attention(layer)
        assert type(layer) is kind


def test_a_model_that_keeps_all_has_layers_of_torch():
    model = nn.TransformerEncoderLayer(8, 4)
    assert type(keep_channels(model, [], {}).self_attn) is nn.MultiheadAttention
