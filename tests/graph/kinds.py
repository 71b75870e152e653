"""Kinds of structure that networks bring along: the networks that show each of them, and second networks for some."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.ops import FrozenBatchNorm2d

from tests.graph import brought, patterns


class FrozenResidual(nn.Module):
    """A bottleneck with frozen norms, as in the backbones of detectors."""

    def __init__(self):
        super().__init__()
        self.stem, self.enter = nn.Conv2d(3, 8, 3, padding=1, bias=False), FrozenBatchNorm2d(8)
        self.inner, self.first = nn.Conv2d(8, 6, 3, padding=1, bias=False), FrozenBatchNorm2d(6)
        self.outer, self.second = nn.Conv2d(6, 8, 1, bias=False), FrozenBatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.enter(self.stem(x)))
        return self.head(F.relu(x + self.second(self.outer(F.relu(self.first(self.inner(x)))))).mean((2, 3)))


class SharedHead(nn.Module):
    """Two levels of a pyramid that one head reads, with a number per level that scales what it says of boxes (FCOS)."""

    def __init__(self):
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.fine, self.coarse = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 6, 1)
        self.tower, self.classes, self.boxes = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 2, 1), nn.Conv2d(6, 4, 1)
        self.scales = nn.Parameter(torch.ones(2))

    def forward(self, x):
        fine = F.relu(self.stem(x))
        coarse = self.coarse(F.relu(self.deep(fine)))
        found = []
        for level, scale in zip(
            (self.fine(fine) + F.interpolate(coarse, scale_factor=2.0), coarse), self.scales, strict=True
        ):
            level = F.relu(self.tower(level))
            found.append(torch.cat([self.classes(level), self.boxes(level) * scale], 1).flatten(2))
        return torch.cat(found, 2).mean(2)


class NormsOfLevels(nn.Module):
    """A head whose convolutions serve all levels while every level has norms of its own (RetinaNet of EfficientDet)."""

    def __init__(self):
        super().__init__()
        self.stem, self.tower = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.norms, self.head = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2)), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        levels = (x, F.max_pool2d(x, 2))
        found = [self.head(F.relu(norm(self.tower(x)))) for norm, x in zip(self.norms, levels, strict=True)]
        return torch.cat([one.flatten(2) for one in found], 2).mean(2)


class Discriminator(nn.Module):
    """Convolutions under a spectral norm (DCGAN)."""

    def __init__(self):
        super().__init__()
        self.first = parametrizations.spectral_norm(nn.Conv2d(3, 8, 3, stride=2, padding=1))
        self.second = parametrizations.spectral_norm(nn.Conv2d(8, 6, 3, padding=1))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2).mean((2, 3)))


class WidthOfStem(nn.Module):
    """A sequence that is made an image again by the width that the input of a block has."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide, self.narrow = nn.Conv2d(3, 8, 3), nn.Linear(8, 12), nn.Linear(12, 8)
        self.read, self.head = nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        n, c, h, w = x.shape
        y = self.narrow(F.gelu(self.wide(x.flatten(2).transpose(1, 2))))
        return self.head(F.relu(self.read(y.transpose(1, 2).reshape(n, c, h, w))).mean((2, 3)))


class AutocastBlock(nn.Module):
    """A residual block in 16-bit floats between layers in 32-bit floats."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.outer = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            y = self.outer(F.relu(self.inner(x)))
        return self.head(F.relu(x + y.float()).mean((2, 3)))


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        gate = x.sigmoid()
        return gradient * gate * (1 + x * (1 - gate))


class OwnFunction(nn.Module):
    """An activation with a gradient of its own (efficientnet_pytorch)."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(_Swish.apply(self.read(_Swish.apply(self.stem(x)))).mean((2, 3)))


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        x, y = ctx.saved_tensors
        gate = y.sigmoid()
        return gradient * gate, gradient * x * gate * (1 - gate)


class OwnFunctions(nn.Module):
    """A gate of two inputs with a gradient of its own, in a residual block."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1)
        self.back, self.head = nn.Conv2d(6, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return self.head((x + self.back(_Gate.apply(self.left(x), self.right(x)))).mean((2, 3)))


class Kept(nn.Module):
    """Features of all levels that a list on the module collects, as hooks of feature extractors do."""

    def __init__(self):
        super().__init__()
        self.stem, self.deep, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(14, 4)
        self.levels = []

    def forward(self, x):
        self.levels.clear()
        for layer in (self.stem, self.deep):
            x = F.relu(layer(x))
            self.levels.append(x)
        assert len(self.levels) == 2
        assert self.levels[0].shape[2] > self.levels[1].shape[2]
        return self.head(torch.cat([level.mean((2, 3)) for level in self.levels], 1))


class Checked(nn.Module):
    """Assertions about shapes, and a feature map that stays on the module."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        assert x.shape[1] == self.stem.out_channels
        self.features = x
        return self.head(F.relu(self.read(self.features)).mean((2, 3)))


class GlobalContext(nn.Module):
    """A sum over positions by weights that a softmax makes, added to all positions (GCNet)."""

    def __init__(self):
        super().__init__()
        self.stem, self.weigh, self.down = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 1, 1, bias=False), nn.Conv2d(8, 5, 1)
        self.norm, self.up, self.head = nn.LayerNorm([5, 1, 1]), nn.Conv2d(5, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        weights = self.weigh(x).flatten(2).softmax(-1)
        context = (x.flatten(2) @ weights.transpose(1, 2))[..., None]
        return self.head(F.relu(x + self.up(F.relu(self.norm(self.down(context))))).mean((2, 3)))


class ChannelAttention(nn.Module):
    """Gates by mean and maximum over positions through one small network, as in the first half of CBAM."""

    def __init__(self):
        super().__init__()
        self.stem, self.down, self.up = (
            nn.Conv2d(3, 8, 3),
            nn.Conv2d(8, 5, 1, bias=False),
            nn.Conv2d(5, 8, 1, bias=False),
        )
        self.read, self.head = nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        pooled = (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1))
        gate = sum(self.up(F.relu(self.down(each))) for each in pooled).sigmoid()
        return self.head(F.relu(self.read(x * gate)).mean((2, 3)))


SECOND = {
    FrozenResidual: {"stem": 8, "inner": 6},
    SharedHead: {"stem": 8, "deep": 6, "fine": 6, "tower": 6},
    NormsOfLevels: {"stem": 6, "tower": 8},
    Discriminator: {"first": 8, "second": 6},
    WidthOfStem: {"stem": 8, "wide": 12, "read": 6},
    AutocastBlock: {"stem": 8, "inner": 6},
    OwnFunction: {"stem": 8, "read": 6},
    OwnFunctions: {"stem": 8, "left": 6},
    Checked: {"stem": 8, "read": 6},
    Kept: {"stem": 8, "deep": 6},
    GlobalContext: {"stem": 8, "down": 5},
    ChannelAttention: {"stem": 8, "down": 5, "read": 6},
}
"""Widths of the groups that must be free, by group."""

ROWS = {
    "padding by zeros of one side or all, circular padding": (
        brought.PaddedStem, brought.CausalPadding, brought.CircularPadding, brought.WrittenParts,
    ),
    "batch norms from buffers": (brought.FrozenNorms, FrozenResidual),
    "one head for several levels of a pyramid": (SharedHead, NormsOfLevels),
    "activations that are not 0 at 0, numbers that are added": (brought.Constants, brought.SelfGated),
    "weights that are computed from others": (brought.ComputedWeights, brought.NormedWeights, Discriminator),
    "attention": (
        brought.Heads, brought.NonLocal, brought.VisionTransformer, brought.CrossAttention, brought.Embedding,
    ),
    "group norms without gain and offset": (brought.BareGroupNorms, brought.ModulatedNorms),
    "shuffled channels, convolutions in groups": (patterns.ChunkShuffle, patterns.GroupedFine, patterns.GroupedCoarse),
    "widths that code reads from another module": (brought.Blurs, brought.WidthsReadElsewhere),
    "views by the width of another layer": (brought.WidthsReadElsewhere, WidthOfStem),
    "autocast inside of a forward": (brought.Autocast, AutocastBlock),
    "functions with a gradient of their own": (OwnFunction, OwnFunctions),
    "assertions, feature maps kept on the module": (Checked, Kept),
    "norms over channels: of length 1, written by hand, without gain, of responses": (
        brought.NormsByHand, brought.Lengths, brought.ModulatedNorms, patterns.RootMeanSquare,
    ),
    "gates by means and maxima, of channels and of positions": (
        brought.Lengths, ChannelAttention, GlobalContext, patterns.SqueezeExcitation,
    ),
}  # fmt: skip
"""Networks of each kind of structure."""

MIXING = {
    brought.VisionTransformer, brought.Embedding, brought.NormsByHand, brought.ModulatedNorms, brought.Lengths,
    brought.BareGroupNorms, brought.ComputedWeights, brought.NormedWeights,
    patterns.RootMeanSquare, GlobalContext,
}  # fmt: skip
"""Those with a statistic over channels or weights that changes with their number, or a direction of weights, which no
zeros have: silence alone is no removal."""

ROUNDED = {brought.Autocast, AutocastBlock}
"""Those that round to 8 bits inside of their forwards."""
