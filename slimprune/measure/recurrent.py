"""Recurrent layers as the operators that they consist of, step by step.

torch computes a recurrent layer by one operator or by many, depending on device, dtype and version. The one operator
tells nothing of its channels and products, and has no second derivatives.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""What a layer remembers of a sequence, [N, hidden] each: its output and, in an LSTM, its cells."""


def in_steps(model: nn.Module) -> nn.Module:
    """Change the recurrent layers of torch in `model` in place, such that they compute step by step; return the model.

    Subclasses of them stay as they are, and sequences of different lengths (packed ones) are computed as before.
    """
    for module in model.modules():
        module.__class__ = _IN_STEPS.get(type(module), type(module))
    return model


def computes_in_steps(module: nn.Module) -> bool:
    """Return whether a recurrent layer computes step by step."""
    return type(module) in _IN_STEPS.values()


def _lstm(read: Tensor, recalled: Tensor, state: State) -> State:
    enters, stays, offered, leaves = (read + recalled).chunk(4, -1)
    cells = stays.sigmoid() * state[1] + enters.sigmoid() * offered.tanh()
    return leaves.sigmoid() * cells.tanh(), cells


def _gru(read: Tensor, recalled: Tensor, state: State) -> State:
    reads, recalls = read.chunk(3, -1), recalled.chunk(3, -1)
    resets, stays = (reads[0] + recalls[0]).sigmoid(), (reads[1] + recalls[1]).sigmoid()
    offered = (reads[2] + resets * recalls[2]).tanh()
    return ((state[0] - offered) * stays + offered,)


def _rnn_tanh(read: Tensor, recalled: Tensor, state: State) -> State:
    return ((read + recalled).tanh(),)


def _rnn_relu(read: Tensor, recalled: Tensor, state: State) -> State:
    return ((read + recalled).relu(),)


_STEPS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN_TANH": _rnn_tanh,
    "RNN_RELU": _rnn_relu,
}
"""What becomes of the state, given what is computed from the input and from the last output, by the mode of a layer."""


def _layer(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:  # noqa: A002 the name in torch
    """Return outputs [N, L, directions * size], in the order of the input, and the last states, as torch does."""
    if not isinstance(input, Tensor):
        # This list keeps other tensors than the layer's own where these were replaced.
        self._flat_weights = [getattr(self, name) for name in self._flat_weights_names]
        return cast(Any, type(self).__bases__[0]).forward(self, input, hx)
    single = input.ndim == 2
    sequence = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
    directions = 2 if self.bidirectional else 1
    first = _first_states(self, sequence, hx, single)
    last: list[State] = []
    for layer in range(self.num_layers):
        if layer and self.training and self.dropout:
            sequence = F.dropout(sequence, self.dropout)
        outputs = []
        for suffix in ("", "_reverse")[:directions]:
            output, state = _direction(self, sequence, f"l{layer}{suffix}", [one[len(last)] for one in first])
            outputs.append(output)
            last.append(state)
        sequence = torch.cat(outputs, -1) if directions > 1 else outputs[0]
    states = [torch.stack(several) for several in zip(*last, strict=True)]
    if single:
        sequence, states = sequence.squeeze(1), [state.squeeze(1) for state in states]
    elif self.batch_first:
        sequence = sequence.transpose(0, 1)
    return sequence, tuple(states) if self.mode == "LSTM" else states[0]


def _first_states(layer: nn.RNNBase, sequence: Tensor, given: Any, single: bool) -> list[Tensor]:
    """Return the states before the first step, [layers * directions, N, size]: those that are given, or zeros."""
    if given is not None:
        states = given if isinstance(given, tuple) else (given,)
        return [state.unsqueeze(1) if single else state for state in states]
    sizes = [layer.proj_size or layer.hidden_size, *([layer.hidden_size] if layer.mode == "LSTM" else [])]
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    return [sequence.new_zeros(count, sequence.shape[1], size) for size in sizes]


def _direction(
    layer: nn.RNNBase, sequence: Tensor, name: str, state: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs [L, N, size] of one layer in one direction, and its last state."""
    tensors: tuple[Any, ...] = tuple(getattr(layer, f"{part}_{name}", None) for part in _PARTS)
    weight_ih, bias_ih, weight_hh, bias_hh, weight_hr = tensors
    read = F.linear(sequence, weight_ih, bias_ih)
    backwards, current, outputs = name.endswith("_reverse"), tuple(state), []
    for step in reversed(range(len(read))) if backwards else range(len(read)):
        recalled = F.linear(current[0], weight_hh, bias_hh)
        current = _STEPS[layer.mode](read[step], recalled, current)
        if weight_hr is not None:
            current = (F.linear(current[0], weight_hr), *current[1:])
        outputs.append(current[0])
    return torch.stack(outputs[::-1] if backwards else outputs), current


_PARTS = ("weight_ih", "bias_ih", "weight_hh", "bias_hh", "weight_hr")
"""Tensors of one layer in one direction, as torch names them; some do not exist in all layers."""


def _cell(self: nn.RNNCellBase, input: Tensor, hx: Any = None) -> Any:  # noqa: A002 the name in torch
    """Return the state after one step, from an input [N, size] or [size], as torch does."""
    kind = _mode_of_cell(self)
    if hx is None:
        zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
        hx = (zeros, zeros) if kind == "LSTM" else zeros
    state = hx if isinstance(hx, tuple) else (hx,)
    read = F.linear(input, self.weight_ih, self.bias_ih)
    after = _STEPS[kind](read, F.linear(state[0], self.weight_hh, self.bias_hh), state)
    return after if kind == "LSTM" else after[0]


def _mode_of_cell(cell: nn.RNNCellBase) -> str:
    if isinstance(cell, nn.RNNCell):
        return f"RNN_{cell.nonlinearity.upper()}"
    return "LSTM" if isinstance(cell, nn.LSTMCell) else "GRU"


class _LstmInSteps(nn.LSTM):
    forward = _layer


class _GruInSteps(nn.GRU):
    forward = _layer


class _RnnInSteps(nn.RNN):
    forward = _layer


class _LstmCellInSteps(nn.LSTMCell):
    forward = _cell


class _GruCellInSteps(nn.GRUCell):
    forward = _cell


class _RnnCellInSteps(nn.RNNCell):
    forward = _cell


_IN_STEPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: _LstmInSteps,
    nn.GRU: _GruInSteps,
    nn.RNN: _RnnInSteps,
    nn.LSTMCell: _LstmCellInSteps,
    nn.GRUCell: _GruCellInSteps,
    nn.RNNCell: _RnnCellInSteps,
}
