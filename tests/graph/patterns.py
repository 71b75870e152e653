"""Small networks, each with one way in which channels travel; all must be slimmed and proven."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.networks import EXAMPLE, Depthwise, Transposed


class PermuteFlatten(nn.Module):
    """Channels last, then flattened: the columns of a channel lie apart."""

    def __init__(self):
        super().__init__()
        self.conv, self.hidden, self.head = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6 * 9, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.relu(self.hidden(F.relu(self.conv(x)).permute(0, 2, 3, 1).flatten(1))))


class TwoFlattens(nn.Module):
    """Two flattened branches of different sizes, concatenated."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(3, 6, 5, stride=3)
        self.head = nn.Linear(4 * 9 + 6 * 4, 4)

    def forward(self, x):
        return self.head(torch.cat([F.relu(self.left(x)).flatten(1), F.relu(self.right(x)).flatten(1)], 1))


class ConcatFlatten(nn.Module):
    """Two branches concatenated, then flattened."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(3, 6, 3, stride=2)
        self.head = nn.Linear(10 * 9, 4)

    def forward(self, x):
        return self.head(torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1).flatten(1))


class DepthMultiplier(nn.Module):
    """A depthwise convolution that makes two channels of each."""

    def __init__(self):
        super().__init__()
        self.expand, self.filter = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 3, groups=6)
        self.norm, self.head = nn.BatchNorm2d(12), nn.Conv2d(12, 4, 1)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.filter(F.relu(self.expand(x)))))).mean((2, 3))


class GroupedFine(nn.Module):
    """More groups than channels in each: whole groups go."""

    def __init__(self):
        super().__init__()
        self.enter, self.grouped = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 6, 3, groups=6)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.grouped(F.relu(self.enter(x)))))).mean((2, 3))


class GroupedCoarse(nn.Module):
    """Fewer groups than channels in each: one channel of every group goes, read and made apart."""

    def __init__(self):
        super().__init__()
        self.enter, self.grouped, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=2), nn.Conv2d(12, 4, 1)

    def forward(self, x):
        return self.head(F.relu(self.grouped(F.relu(self.enter(x))))).mean((2, 3))


class GroupedTransposed(nn.Module):
    """Transposed convolutions with many and with few groups."""

    def __init__(self):
        super().__init__()
        self.enter, self.fine = nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2, groups=4)
        self.between, self.coarse = nn.Conv2d(4, 8, 1), nn.ConvTranspose2d(8, 12, 2, groups=2)
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        x = F.relu(self.between(F.relu(self.fine(F.relu(self.enter(x))))))
        return self.head(F.relu(self.coarse(x))).mean((2, 3))


class SqueezeExcitation(nn.Module):
    """Channels scaled by gates that a bottleneck computes from their means."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        gates = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return self.head((x * gates).mean((2, 3)))


class ChunkShuffle(nn.Module):
    """Half of the channels go through a branch, then both halves are interleaved (ShuffleNet)."""

    def __init__(self):
        super().__init__()
        self.enter, self.branch, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        kept, changed = F.relu(self.enter(x)).chunk(2, 1)
        x = torch.cat([kept, F.relu(self.branch(changed))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(x).mean((2, 3))


class PixelShuffle(nn.Module):
    """Four channels become one at twice the resolution, and back."""

    def __init__(self):
        super().__init__()
        self.enter, self.read = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Conv2d(24, 4, 1)

    def forward(self, x):
        x = F.relu(self.read(F.pixel_shuffle(F.relu(self.enter(x)), 2)))
        return self.head(F.pixel_unshuffle(x, 2)).mean((2, 3))


class SharedModule(nn.Module):
    """One convolution applied twice: what it reads and what it makes are the same channels."""

    def __init__(self):
        super().__init__()
        self.enter, self.again, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.enter(x))
        return self.head(F.relu(self.again(F.relu(self.again(x)))).mean((2, 3)))


class TiedWeights(nn.Module):
    """Two layers with one weight: an encoder and its transpose, and two convolutions that share theirs."""

    def __init__(self):
        super().__init__()
        self.enter, self.inner, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 8), nn.Linear(6, 4)
        self.first, self.second = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.second.weight = self.first.weight

    def forward(self, x):
        x = F.relu(self.second(F.relu(self.first(F.relu(self.enter(x)))))).mean((2, 3))
        return self.head(F.relu(F.linear(F.relu(self.inner(x)), self.inner.weight.t())))


class BilinearConcat(nn.Module):
    """Down, up by bilinear resampling, concatenated with the skip connection."""

    def __init__(self):
        super().__init__()
        self.enter, self.down = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Conv2d(10, 2, 1)

    def forward(self, x):
        skip = F.relu(self.enter(x))
        low = F.relu(self.norm(self.down(skip)))
        wide = F.interpolate(low, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.head(torch.cat([wide, skip], 1))


class OneChannel(nn.Module):
    """A spatial gate of one channel over all others, and a convolution of one channel to many."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 1, 1)
        self.spread, self.head = nn.Conv2d(1, 6, 3), nn.Linear(14, 4)

    def forward(self, x):
        x = F.relu(self.conv(x))
        gate = self.gate(x).sigmoid()
        spread = F.relu(self.spread(gate)).mean((2, 3))
        return self.head(torch.cat([(x * gate).mean((2, 3)), spread], 1))


class FineGroupNorm(nn.Module):
    """More groups than channels in each: whole groups go, and the norm is the same as before."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 12, 3), nn.GroupNorm(6, 12), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x))).mean((2, 3)))


class CoarseGroupNorm(nn.Module):
    """Fewer groups than channels in each: one channel of every group goes, and the norm changes by nature."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 12, 3), nn.GroupNorm(2, 12), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x))).mean((2, 3)))


class UnbiasedGroupNorm(CoarseGroupNorm):
    """A group norm with a gain alone (PoolFormer)."""

    def __init__(self):
        super().__init__()
        self.norm.bias = None


class NormsInOrder(nn.Module):
    """Instance norm, a slope per channel, layer norm over channels that lie last, layer scale (ConvNeXt)."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm, self.slope = (
            nn.Conv2d(3, 6, 3, bias=False),
            nn.InstanceNorm2d(6, affine=True),
            nn.PReLU(6),
        )
        self.filter, self.norm = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.LayerNorm(6)
        self.wide, self.narrow = nn.Linear(6, 12), nn.Linear(12, 6)
        self.scale, self.head = nn.Parameter(torch.rand(6, 1, 1)), nn.Linear(6, 4)

    def forward(self, x):
        x = self.slope(self.stem_norm(self.stem(x)))
        y = self.norm(self.filter(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return self.head((x + self.scale * y).mean((2, 3)))


class Transformer(nn.Module):
    """Patches, a class token and positions; attention in one head and an MLP, each with a width of its own."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token, self.positions = nn.Parameter(torch.rand(1, 1, 8)), nn.Parameter(torch.rand(1, 5, 8))
        self.first_norm, self.queries, self.values = nn.LayerNorm(8), nn.Linear(8, 10), nn.Linear(8, 6)
        self.out, self.second_norm = nn.Linear(6, 8), nn.LayerNorm(8)
        self.wide, self.narrow, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y = self.first_norm(x)
        queries, keys = self.queries(y).chunk(2, -1)
        x = x + self.out(torch.softmax(queries @ keys.transpose(1, 2), -1) @ self.values(y))
        x = x + self.narrow(F.gelu(self.wide(self.second_norm(x))))
        return self.head(x[:, 0])


class EncoderLayer(nn.Module):
    """torch's own transformer layer, fused in eval mode."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 4, dim_feedforward=16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.block(x.mean(1)).mean(1))


class RootMeanSquare(nn.Module):
    """RMS norm over channels that lie last, with a residual sum."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.RMSNorm(6)
        self.wide, self.narrow, self.head = nn.Linear(6, 10), nn.Linear(10, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = self.conv(x).permute(0, 2, 3, 1)
        return self.head((x + self.narrow(F.gelu(self.wide(self.norm(x))))).mean((1, 2)))


class SelectiveKernel(nn.Module):
    """Two branches, weighed channel by channel by a softmax over the branches (SKNet, ResNeSt)."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 5, padding=2)
        self.down, self.up, self.head = nn.Linear(6, 5), nn.Linear(5, 12), nn.Linear(6, 4)

    def forward(self, x):
        x = torch.stack([F.relu(self.left(x)), F.relu(self.right(x))], 1)
        weights = self.up(F.relu(self.down(x.sum(1).mean((2, 3))))).view(x.shape[0], 2, -1).softmax(1)
        return self.head((x * weights[..., None, None]).sum(1).mean((2, 3)))


class Recomputed(nn.Module):
    """A buffer that forward makes anew when the input has another size (ConViT)."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 1), nn.Linear(8, 4)
        self.register_buffer("ramp", torch.zeros(1, 1), persistent=False)

    def forward(self, x):
        x = F.relu(self.conv(x))
        if self.ramp.shape != x.shape[2:]:
            self.ramp = torch.linspace(0, 1, x.shape[2:].numel(), dtype=x.dtype).view(x.shape[2:])
        return self.head(F.relu(self.mix(x * self.ramp)).mean((2, 3)))


class Gated(nn.Module):
    """A gated linear unit, and an image that a linear layer draws."""

    def __init__(self):
        super().__init__()
        self.conv, self.draw, self.head = nn.Conv2d(3, 12, 3), nn.Linear(6, 5 * 16), nn.Conv2d(5, 4, 1)

    def forward(self, x):
        x = F.glu(self.conv(x), 1).mean((2, 3))
        return self.head(F.relu(self.draw(x).view(x.shape[0], -1, 4, 4))).mean((2, 3))


class PatchMerging(nn.Module):
    """Four neighbours side by side (Swin), and neighbourhoods as columns (unfold)."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.merge = nn.Conv2d(3, 6, 3, padding=1), nn.LayerNorm(24), nn.Linear(24, 5)
        self.head = nn.Linear(5 * 4, 4)

    def forward(self, x):
        x = F.relu(self.conv(x)).permute(0, 2, 3, 1)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        x = F.relu(self.merge(self.norm(x))).permute(0, 3, 1, 2)
        return self.head(F.unfold(x, 2).mean(2))


class Queries(nn.Module):
    """Learned vectors that no layer makes, added to what they ask for."""

    def __init__(self):
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 6, 3), nn.Parameter(torch.rand(4, 5))
        self.read, self.head = nn.Linear(5, 6), nn.Linear(6, 4)

    def forward(self, x):
        asked = self.read(self.table).mean(0)
        return self.head(F.relu(self.conv(x).mean((2, 3)) + asked))


class Named(nn.Module):
    """Inputs by name, outputs by name."""

    def __init__(self):
        super().__init__()
        self.image, self.mask = nn.Conv2d(3, 6, 3), nn.Conv2d(1, 4, 3)
        self.classes, self.box = nn.Linear(10, 4), nn.Linear(10, 2)

    def forward(self, inputs):
        x = torch.cat([F.relu(self.image(inputs["image"])), F.relu(self.mask(inputs["masks"][0]))], 1).mean((2, 3))
        return {"classes": self.classes(x), "boxes": [self.box(x)]}


class TwoInputs(nn.Module):
    """Two arguments, and two outputs of which one leaves early."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.deep = nn.Conv2d(3, 6, 3), nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3)
        self.early, self.late = nn.Linear(6, 4), nn.Linear(8, 4)

    def forward(self, x, y):
        x = F.relu(self.left(x) + self.right(y))
        return self.early(x.mean((2, 3))), self.late(F.relu(self.deep(x)).mean((2, 3)))


NAMED_EXAMPLE = {"image": torch.zeros(1, 3, 8, 8), "masks": [torch.zeros(1, 1, 8, 8)]}

PATTERNS = {
    PermuteFlatten: {"conv": 6, "hidden": 8},
    TwoFlattens: {"left": 4, "right": 6},
    ConcatFlatten: {"left": 4, "right": 6},
    Depthwise: {"expand": 8},
    DepthMultiplier: {"expand": 6},
    GroupedFine: {"enter": 6},
    GroupedCoarse: {"enter": 4, "grouped": 6},
    GroupedTransposed: {"enter": 4, "between": 4, "coarse": 6},
    SqueezeExcitation: {"conv": 8, "down": 4},
    ChunkShuffle: {"enter": 4},
    PixelShuffle: {"enter": 4, "read": 6},
    SharedModule: {"enter": 6},
    TiedWeights: {"enter": 6, "inner": 8},
    Transposed: {"enter": 4, "down": 6, "up": 5},
    BilinearConcat: {"enter": 4, "down": 6},
    OneChannel: {"conv": 8, "spread": 6},
    FineGroupNorm: {"conv": 6},
    CoarseGroupNorm: {"conv": 6},
    UnbiasedGroupNorm: {"conv": 6},
    NormsInOrder: {"stem": 6, "wide": 12},
    Transformer: {"patches": 8, "queries": 5, "values": 6, "wide": 16},
    EncoderLayer: {"block.self_attn": 4, "block.linear1": 16},
    RootMeanSquare: {"conv": 6, "wide": 10},
    SelectiveKernel: {"left": 6, "down": 5},
    Recomputed: {"conv": 6, "mix": 8},
    Gated: {"conv": 6, "draw": 5},
    PatchMerging: {"conv": 6, "merge": 5},
    Queries: {"conv": 6, "table": 5},
    Named: {"image": 6, "mask": 4},
    TwoInputs: {"left": 6, "deep": 8},
}
"""Widths of the groups that must be free, by group."""

EXAMPLES = {Named: NAMED_EXAMPLE, TwoInputs: (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))}


def example_of(kind):
    return EXAMPLES.get(kind, EXAMPLE)
