"""Small recurrent networks behind convolutions; all must be slimmed and proven."""

import torch
import torch.nn.functional as F
from torch import nn


class Crnn(nn.Module):
    """Two bidirectional layers of LSTM over the columns of an image (CRNN), and a linear layer for every column."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.recurrent = nn.LSTM(6 * 4, 8, num_layers=2, bidirectional=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 2)
        columns = x.flatten(1, 2).permute(2, 0, 1)
        return self.head(self.recurrent(columns)[0]).permute(1, 2, 0).flatten(1)


class LastState(nn.Module):
    """An LSTM whose last states of both directions are read, and which starts from what another layer makes."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6, 2 * 8)
        self.recurrent, self.head = nn.LSTM(6, 8, bidirectional=True, batch_first=True, bias=False), nn.Linear(16, 4)

    def forward(self, x):
        x = F.relu(self.stem(x)).flatten(2).transpose(1, 2)
        hidden = self.first(x.mean(1)).tanh().view(x.shape[0], 2, -1).transpose(0, 1).contiguous()
        _, (hidden, _) = self.recurrent(x, (hidden, torch.zeros_like(hidden)))
        return self.head(torch.cat([hidden[0], hidden[1]], 1))


class Projected(nn.Module):
    """An LSTM that hands on fewer numbers than it remembers."""

    def __init__(self):
        super().__init__()
        self.stem, self.recurrent = nn.Conv2d(3, 6, 3, stride=2), nn.LSTM(6, 8, proj_size=5, num_layers=2)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = F.relu(self.stem(x)).flatten(2).permute(2, 0, 1)
        return self.head(self.recurrent(x)[0].mean(0))


class Gated(nn.Module):
    """Layers of GRU in both directions over the rows of an image, summed with what they read."""

    def __init__(self):
        super().__init__()
        self.stem, self.recurrent = nn.Conv2d(3, 8, 3), nn.GRU(8, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x)).mean(3).transpose(1, 2)
        return self.head((x + self.recurrent(x)[0]).mean(1))


class GatedOnce(nn.Module):
    """A layer of GRU, and a plain recurrent one that goes on from its last state."""

    def __init__(self):
        super().__init__()
        self.stem, self.gated, self.plain = nn.Conv2d(3, 6, 3), nn.GRU(6, 8), nn.RNN(8, 8, nonlinearity="relu")
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x)).mean(3).permute(2, 0, 1)
        outputs, last = self.gated(x)
        return self.head(self.plain(outputs, last)[0].amax(0))


class Cells(nn.Module):
    """Cells that the code calls step by step, one of each kind."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(3, 6, 3), nn.LSTMCell(6, 8), nn.GRUCell(8, 6)
        self.third, self.head = nn.RNNCell(6, 5, bias=False), nn.Linear(5, 4)

    def forward(self, x):
        columns = F.relu(self.stem(x)).mean(2).unbind(2)
        states, second, third = None, None, None
        for column in columns:
            states = self.first(column, states)
            second = self.second(states[0], second)
            third = self.third(second, third)
        return self.head(third)


RECURRENT = {
    Crnn: {"stem": 6, "recurrent": 8},
    LastState: {"stem": 6, "first": 8},
    Projected: {"stem": 6, "recurrent": 8, "recurrent#2": 5},
    Gated: {"stem": 4},
    GatedOnce: {"stem": 6, "gated": 8},
    Cells: {"stem": 6, "first": 8, "second": 6, "third": 5},
}
"""Widths of the groups that must be free, by group."""
