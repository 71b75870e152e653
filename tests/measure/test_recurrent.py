"""Recurrent layers in steps return what torch's own return, and have second derivatives."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from slimprune.measure.recurrent import in_steps

LAYERS = [
    nn.LSTM(3, 4),
    nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True, proj_size=2),
    nn.LSTM(3, 4, bias=False, dropout=0.5, num_layers=2),
    nn.GRU(3, 4, num_layers=2, bidirectional=True),
    nn.GRU(3, 4, batch_first=True, bias=False),
    nn.RNN(3, 4, num_layers=2, batch_first=True),
    nn.RNN(3, 4, nonlinearity="relu", bidirectional=True),
]
CELLS = [nn.LSTMCell(3, 4), nn.GRUCell(3, 4, bias=False), nn.RNNCell(3, 4), nn.RNNCell(3, 4, nonlinearity="relu")]


def flat(found):
    return torch.cat([leaf.data.flatten() for leaf in torch.utils._pytree.tree_leaves(found) if leaf is not None])


def pairs(layer):
    """The layer and the same one in steps, both in float64 and eval mode."""
    return layer.double().eval(), in_steps(copy.deepcopy(layer).double().eval())


def states(layer, *shape):
    """Random first states of the layer; `shape` is what stands before their size."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(*shape, getattr(layer, "proj_size", 0) or 4, dtype=torch.float64, generator=generator)
    cells = torch.randn(*shape, 4, dtype=torch.float64, generator=generator)
    return (hidden, cells) if isinstance(layer, nn.LSTM | nn.LSTMCell) else hidden


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_outputs_and_states_are_those_of_torch(layer):
    whole, steps = pairs(layer)
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sequences = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first = states(layer, count, 5 if layer.batch_first else 2)
    for arguments in ((sequences,), (sequences, first), (sequences[0],), (sequences[0], states(layer, count))):
        expected, found = whole(*arguments), steps(*arguments)
        assert [leaf.shape for leaf in torch.utils._pytree.tree_leaves(found)] == [
            leaf.shape for leaf in torch.utils._pytree.tree_leaves(expected)
        ]
        torch.testing.assert_close(flat(found), flat(expected), rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cell_returns_what_torchs_does(cell):
    whole, steps = pairs(cell)
    rows = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for arguments in ((rows,), (rows, states(cell, 2)), (rows[0],), (rows[0], states(cell))):
        torch.testing.assert_close(flat(steps(*arguments)), flat(whole(*arguments)), rtol=0, atol=1e-14)


def test_packed_sequences_are_left_to_torch():
    whole, steps = pairs(nn.LSTM(3, 4))
    packed = pack_sequence([torch.ones(4, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)])
    assert torch.equal(steps(packed)[0].data, whole(packed)[0].data)


def test_dropout_is_between_layers_in_training():
    torch.manual_seed(0)
    layer = in_steps(nn.RNN(2, 64, num_layers=2, dropout=0.5, nonlinearity="relu", bias=False).train())
    for name, tensor in layer.named_parameters():
        nn.init.constant_(tensor, float(name.startswith("weight_ih")) / 64)
    outputs, _ = layer(torch.ones(1, 8, 2))
    kept = outputs[0, :, 0] * 64 / (2 * 2 / 64)
    assert 8 < kept.min() < kept.max() < 56, "about half of 64 units are kept, another number in every sequence"


def test_subclasses_stay():
    class Own(nn.LSTM):
        pass

    assert type(in_steps(Own(3, 4))) is Own


@pytest.mark.parametrize("layer", [LAYERS[1], LAYERS[3], LAYERS[5]], ids=["LSTM", "GRU", "RNN"])
def test_second_derivatives(layer):
    _, steps = pairs(layer)
    sequences = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradgradcheck(lambda x: steps(x)[0], (sequences.requires_grad_(),))
