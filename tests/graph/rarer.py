"""Small networks with rarer operators; all must be slimmed and proven."""

import torch
import torch.nn.functional as F
from torch import nn


class ConvLstm(nn.Module):
    """A cell of convolutional LSTM over four images, whose gates are the parts of one convolution's output."""

    def __init__(self):
        super().__init__()
        self.hidden_dim, self.stem = 6, nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.gates, self.head = nn.Conv2d(5 + 6, 4 * 6, 3, padding=1), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        hidden = cells = x.new_zeros(x.shape[0], self.hidden_dim, *x.shape[2:])
        for shift in range(3):
            images = torch.roll(x, shift, 3)
            i, f, o, g = torch.split(self.gates(torch.cat([images, hidden], 1)), self.hidden_dim, 1)
            cells = f.sigmoid() * cells + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cells.tanh()
        return self.head(hidden.mean((2, 3)))


class ConvGru(nn.Module):
    """A cell of convolutional GRU with a convolution for each gate."""

    def __init__(self):
        super().__init__()
        self.stem, self.update = nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Conv2d(5 + 6, 6, 3, padding=1)
        self.reset, self.offer = nn.Conv2d(5 + 6, 6, 3, padding=1), nn.Conv2d(5 + 6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        hidden = x.new_zeros(x.shape[0], self.update.out_channels, *x.shape[2:])
        for shift in range(2):
            images = torch.roll(x, shift, 3)
            both = torch.cat([images, hidden], 1)
            z, r = self.update(both).sigmoid(), self.reset(both).sigmoid()
            offered = self.offer(torch.cat([images, r * hidden], 1)).tanh()
            hidden = (1 - z) * hidden + z * offered
        return self.head(hidden.mean((2, 3)))


class Eca(nn.Module):
    """A gate that a convolution along the channels computes from their means (ECA)."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x):
        y = F.adaptive_avg_pool2d(x, 1)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * y.sigmoid()


class EcaNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.eca, self.read, self.head = nn.Conv2d(3, 8, 3), Eca(8), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(F.relu(self.read(self.eca(F.relu(self.stem(x))))).mean((2, 3)))


class Gem(nn.Module):
    """Generalised means with a learned exponent for all channels and one for each."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6 + 6, 4)
        self.one, self.each = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.linspace(2, 3, 6).view(1, 6, 1, 1))

    def forward(self, x):
        x = F.relu(self.read(F.relu(self.stem(x)))).clamp(min=1e-6)
        one = F.avg_pool2d(x.pow(self.one), 4).pow(1 / self.one)
        each = F.avg_pool2d(x.pow(self.each), 4).pow(1 / self.each)
        return self.head(torch.cat([one, each], 1).flatten(1))


class Pact(nn.Module):
    """Clipped activations with a learned threshold for each channel (PACT), in two forms."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)
        self.most, self.top = nn.Parameter(torch.rand(8, 1, 1) + 0.1), nn.Parameter(torch.rand(1, 6, 1, 1) + 0.1)

    def forward(self, x):
        x = torch.clamp(self.stem(x), min=torch.zeros_like(self.most), max=self.most)
        return self.head(torch.minimum(F.relu(self.read(x)), self.top).mean((2, 3)))


class PactHalves(nn.Module):
    """The threshold as PACT writes it: half of |x| - |x - a| + a."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)
        self.most = nn.Parameter(torch.rand(1, 8, 1, 1) + 0.1)

    def forward(self, x):
        x = self.stem(x)
        x = 0.5 * (x.abs() - (x - self.most).abs() + self.most)
        return self.head(F.relu(self.read(x)).mean((2, 3)))


class IndexPut(nn.Module):
    """Rows of an image that are overwritten, and columns to which is added, by index."""

    def __init__(self):
        super().__init__()
        self.stem, self.other, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        a, b = F.relu(self.stem(x)), F.relu(self.other(x))
        out = torch.zeros_like(a)
        some = torch.tensor([0, 2])
        out[:, :, some] = a[:, :, some]
        out[:, :, :, some] += b[:, :, :, some]
        return self.head(out.mean((2, 3)))


class Unpool(nn.Module):
    """Maxima put back to where they were (SegNet)."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 3)

    def forward(self, x):
        x, where = F.max_pool2d(F.relu(self.stem(x)), 2, return_indices=True)
        return self.head(F.max_unpool2d(F.relu(self.inner(x)), where, 2))


class Fourier(nn.Module):
    """Convolutions of a spectrum, real and imaginary parts as channels (fast Fourier convolution)."""

    def __init__(self):
        super().__init__()
        self.stem, self.spectral, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(12, 12, 1), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        found = torch.fft.rfft2(x, norm="ortho")
        found = F.relu(self.spectral(torch.cat([found.real, found.imag], 1)))
        real, imaginary = found.chunk(2, 1)
        back = torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:], norm="ortho")
        return self.head((x + back).square().mean((2, 3)))


class GlobalFilter(nn.Module):
    """A learned filter of a spectrum for each channel (GFNet)."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.filter = nn.Parameter(torch.randn(6, 8, 5, 2))

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(self.filter), s=x.shape[-2:])
        return self.head(F.relu(self.read(x)).mean((2, 3)))


class FoldUnfold(nn.Module):
    """Patches cut out, changed, and summed again where they overlap."""

    def __init__(self):
        super().__init__()
        self.stem, self.change = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        patches = F.unfold(x, 3, padding=1)
        back = F.fold(patches * 0.5, (8, 8), 3, padding=1)
        return self.head(F.relu(self.change(back)).mean((2, 3)))


class PatchAttention(nn.Module):
    """Patches as tokens of a linear layer, which fold puts together (T2T-like)."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 4, 4 * 6), nn.Conv2d(6, 2, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        tokens = F.unfold(x, 2, stride=2).transpose(1, 2)
        return self.head(F.fold(F.relu(self.mix(tokens)).transpose(1, 2), (8, 8), 2, stride=2))


class SkeletonGraph(nn.Module):
    """A convolution over a fixed graph of joints, one part of the channels for each kind of edge (ST-GCN)."""

    def __init__(self):
        super().__init__()
        self.spread, self.norm = nn.Conv2d(3, 3 * 6, 1), nn.BatchNorm2d(6)
        self.along, self.head = nn.Conv2d(6, 5, (3, 1)), nn.Linear(5, 4)
        self.register_buffer("graph", torch.rand(3, 8, 8))
        self.importance = nn.Parameter(torch.ones(3, 8, 8))

    def forward(self, x):
        x = self.spread(x)
        n, kc, t, v = x.shape
        x = x.view(n, 3, kc // 3, t, v)
        x = torch.einsum("nkctv,kvw->nctw", (x, self.graph * self.importance)).contiguous()
        return self.head(F.relu(self.along(F.relu(self.norm(x)))).mean((2, 3)))


class GraphOnce(nn.Module):
    """One fixed graph of joints as a matrix."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1), nn.Linear(5, 4)
        self.register_buffer("graph", torch.rand(8, 8))

    def forward(self, x):
        x = torch.einsum("nctv,vw->nctw", F.relu(self.stem(x)), self.graph)
        return self.head(F.relu(self.read(x)).mean((2, 3)))


class FixedFilter(nn.Module):
    """A fixed filter expanded to all channels, twice, with the number of groups read in two ways."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.Linear(6, 4)
        self.register_buffer("kernel", torch.rand(1, 1, 3, 3))
        self.dim = 6

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.conv2d(x, self.kernel.repeat(x.size(1), 1, 1, 1), stride=1, padding=1, groups=x.size(1))
        x = F.relu(self.read(x))
        return self.head(F.conv2d(x, self.kernel.expand(self.dim, -1, -1, -1), groups=self.dim).mean((2, 3)))


class EcaResidual(nn.Module):
    """The same with a wider filter and a bias, in a residual block."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.norm = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.along, self.head = nn.Conv1d(1, 1, 5, padding=2), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.norm(self.inner(x))
        gates = self.along(y.mean((2, 3)).unsqueeze(1)).sigmoid()
        return self.head(F.relu(x + y * gates.transpose(1, 2).unsqueeze(-1)).mean((2, 3)))


class SegNet(nn.Module):
    """Two levels of maxima that are put back where they were."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.third, self.head = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 2, 3)

    def forward(self, x):
        x, outer = F.max_pool2d(F.relu(self.first(x)), 2, return_indices=True)
        x, inner = F.max_pool2d(F.relu(self.second(x)), 2, return_indices=True)
        x = self.third(F.max_unpool2d(x, inner, 2))
        return self.head(F.max_unpool2d(F.relu(x), outer, 2))


class Erased(nn.Module):
    """Negative values and one row that are set to zero by index."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x)
        x[x < 0] = 0.0
        y = self.read(x).clone()
        y[:, :, torch.tensor([1, 3])] = 0.0
        return self.head(F.relu(y).mean((2, 3)))


RARER = {
    ConvLstm: {"stem": 5, "gates": 6},
    ConvGru: {"stem": 5, "update": 6},
    EcaNet: {"stem": 8, "read": 6},
    EcaResidual: {"stem": 8},
    Gem: {"stem": 8, "read": 6},
    Pact: {"stem": 8, "read": 6},
    PactHalves: {"stem": 8, "read": 6},
    IndexPut: {"stem": 8},
    Erased: {"stem": 8, "read": 6},
    Unpool: {"stem": 8},
    SegNet: {"first": 6, "second": 8},
    Fourier: {"stem": 6},
    GlobalFilter: {"stem": 6, "read": 6},
    FoldUnfold: {"stem": 4, "change": 4},
    PatchAttention: {"stem": 4, "mix": 6},
    SkeletonGraph: {"spread": 6, "along": 5},
    GraphOnce: {"stem": 6, "read": 5},
    FixedFilter: {"stem": 8, "read": 6},
}
"""Widths of the groups that must be free, by group."""
