"""Small networks with the structures that networks bring along; all must be slimmed and proven."""

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.ops import FrozenBatchNorm2d


class PaddedStem(nn.Module):
    """Convolutions behind zero padding of one side (TensorFlow's "same"), the first of them reads the padded input."""

    def __init__(self):
        super().__init__()
        self.stem, self.gate, self.read = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 1, 1), nn.Conv2d(8, 6, 3)
        self.pad, self.head = nn.ZeroPad2d((0, 1, 0, 1)), nn.Linear(6, 4)

    def forward(self, x):
        x = F.pad(F.relu(self.stem(F.pad(x, (0, 1, 0, 1)))), (1, 1, 1, 1))
        return self.head(F.relu(self.read(self.pad(x * self.gate(x).sigmoid()))).mean((2, 3)))


class CausalPadding(nn.Module):
    """Convolutions over a sequence that is padded on the left, with a residual sum."""

    def __init__(self):
        super().__init__()
        self.stem, self.later, self.head = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 3, dilation=2), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(F.pad(x.flatten(2), (2, 0))))
        return self.head((x + F.relu(self.later(F.pad(x, (4, 0))))).mean(2))


class CircularPadding(nn.Module):
    """Padding by the opposite side, in a layer and by the function."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular")
        self.read, self.head = nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = F.pad(F.relu(self.stem(x)), (1, 0, 1, 0), mode="circular")
        return self.head(F.relu(self.read(x)).mean((2, 3)))


class WrittenParts(nn.Module):
    """Channels written into parts of an empty tensor: some moved by one position (TSM), between them zeros."""

    def __init__(self):
        super().__init__()
        self.conv, self.read, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.conv(x))
        moved, part = torch.zeros_like(x), x.shape[1] // 2
        moved[:, :part, 1:] = x[:, :part, :-1]
        moved[:, part:] = x[:, part:]
        spread = x.new_zeros(x.shape[0], x.shape[1], 2 * x.shape[2], x.shape[3])
        spread[:, :, ::2] = moved
        return self.head(F.relu(self.read(spread)).mean((2, 3)))


class BufferNorm(nn.Module):
    """A batch norm written by hand, with statistics as buffers of an image's rank."""

    def __init__(self, width):
        super().__init__()
        self.gain, self.offset = nn.Parameter(torch.ones(1, width, 1, 1)), nn.Parameter(torch.zeros(1, width, 1, 1))
        self.register_buffer("center", torch.zeros(1, width, 1, 1))
        self.register_buffer("variance", torch.ones(1, width, 1, 1))

    def forward(self, x):
        return (x - self.center) * torch.rsqrt(self.variance + 1e-5) * self.gain + self.offset


class FrozenNorms(nn.Module):
    """Batch norms from buffers: torchvision's frozen one and one written by hand."""

    def __init__(self):
        super().__init__()
        self.stem, self.frozen = nn.Conv2d(3, 8, 3, bias=False), FrozenBatchNorm2d(8)
        self.read, self.norm, self.head = nn.Conv2d(8, 6, 3), BufferNorm(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.read(F.relu(self.frozen(self.stem(x)))))).mean((2, 3)))


class Constants(nn.Module):
    """Activations that make a constant of a silent channel, one of them behind padding, and numbers that are added."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 6, 3)
        self.gain, self.offset = nn.Parameter(torch.tensor([1.5])), nn.Parameter(torch.tensor([0.5]))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = F.softplus(self.second(self.first(x).sigmoid()))
        x = self.gain * self.third(x).clamp(min=0.1) + self.offset
        return self.head((x + 1).mean((2, 3)))


class SelfGated(nn.Module):
    """A gate of ones plus an activation in place, a residual sum, and a mean of powers (GeM)."""

    def __init__(self):
        super().__init__()
        self.stem, self.gate, self.exponent = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Parameter(torch.tensor([3.0]))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x).sigmoid_()
        x = x + x * (1 + self.gate(x).tanh_())
        return self.head(x.clamp(min=1e-6).pow(self.exponent).mean((2, 3)).pow(1 / self.exponent))


class Standardised(nn.Conv2d):
    """A convolution whose filters have mean 0 and deviation 1 (BiT), and a learned gain."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x):
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = self.gain * (self.weight - mean) / (deviation + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class StandardisedByNorm(nn.Conv2d):
    """The same by a batch norm over the filters (timm), and scaled by a number (equalised learning rate)."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.gain = nn.Parameter(torch.ones(self.out_channels))

    def forward(self, x):
        filters = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(filters, None, None, weight=self.gain, training=True, momentum=0.0)
        return F.conv2d(x, 0.5 * weight.reshape_as(self.weight), self.bias, self.stride, self.padding)


class ComputedWeights(nn.Module):
    """Weights that are standardised or scaled before they are used."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = Standardised(3, 8, 3), StandardisedByNorm(8, 6, 3, padding=1)
        self.norm, self.last, self.head = nn.BatchNorm2d(6), Standardised(6, 8, 1, bias=False), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.inner(F.relu(self.stem(x)))))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class NormedWeights(nn.Module):
    """Weights by parametrizations of torch: a direction and its length, also of a depthwise and a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.read = nn.Conv2d(3, 8, 3), parametrizations.weight_norm(nn.Conv2d(8, 6, 3))
        self.filter = parametrizations.weight_norm(nn.Conv2d(8, 8, 3, groups=8, padding=1, bias=False))
        self.wide, self.head = parametrizations.weight_norm(nn.Linear(6, 10)), nn.Linear(10, 4)

    def forward(self, x):
        x = F.relu(self.read(F.relu(self.filter(F.relu(self.stem(x))))))
        return self.head(F.relu(self.wide(x.mean((2, 3)))))


class WidthsReadElsewhere(nn.Module):
    """A view and a split that take the width of another layer, and layers between that have a width of their own."""

    def __init__(self):
        super().__init__()
        self.first, self.between, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.left, self.right = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(14, 4)

    def forward(self, x):
        x = F.relu(self.first(x))
        n, c, h, w = x.shape
        viewed = F.relu(self.second(F.relu(self.between(x)))).view(n, c, h * w)
        left, right = F.relu(self.left(x)), F.relu(self.right(x))
        both = torch.cat([left, right], 1).split(left.shape[1], 1)
        return self.head(torch.cat([viewed.mean(2), (both[0] * both[1]).mean((2, 3))], 1))


class HeadsByNumber(nn.Module):
    """Fused attention whose code knows the number and the width of its heads (timm): whole heads go."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = 4, 3, 12
        self.qkv, self.proj = nn.Linear(8, 36), nn.Linear(12, 8)

    def forward(self, x):
        n, length, _ = x.shape
        parts = self.qkv(x).reshape(n, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(*parts.unbind(0))
        return self.proj(x.transpose(1, 2).reshape(n, length, self.attn_dim))


class HeadsInBlocks(nn.Module):
    """Attention whose layers are blocks of linear layer and batch norm, with another width of values (LeViT)."""

    def __init__(self):
        super().__init__()
        self.patches, self.num_heads, self.key_dim, self.val_dim = nn.Conv2d(3, 8, 4, stride=4), 4, 2, 3
        self.val_attn_dim = 12
        self.qkv = nn.Sequential(nn.Linear(8, 28, bias=False), nn.Flatten(0, 1), nn.BatchNorm1d(28))
        self.proj, self.head = nn.Linear(12, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        parts = self.qkv(x).view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
        query, key, value = parts.split([self.key_dim, self.key_dim, self.val_dim], dim=3)
        weights = torch.softmax(query @ key.transpose(2, 3) * self.key_dim**-0.5, -1)
        read = (weights @ value).transpose(1, 2).reshape(*x.shape[:2], self.val_attn_dim)
        return self.head((x + self.proj(read)).mean(1))


class HeadsByWidth(nn.Module):
    """Attention in steps whose code knows the width of its heads (transformers), with a bias per head and distance."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(8, 12),
            nn.Linear(8, 12, bias=False),
            nn.Linear(8, 12),
            nn.Linear(12, 8),
        )
        self.table = nn.Parameter(torch.rand(7, 4))

    def forward(self, x):
        query, key, value = (
            layer(x).view(*x.shape[:2], -1, 3).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        steps = torch.arange(x.shape[1])
        bias = self.table[steps[:, None] - steps + x.shape[1] - 1].permute(2, 0, 1)
        weights = torch.softmax(query @ key.transpose(2, 3) * 3**-0.5 + bias, -1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


class Heads(nn.Module):
    """Two blocks of attention over four patches."""

    def __init__(self):
        super().__init__()
        self.patches, self.first, self.second = nn.Conv2d(3, 8, 4, stride=4), HeadsByNumber(), HeadsByWidth()
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.first(x)
        return self.head((x + self.second(x)).mean(1))


class NonLocal(nn.Module):
    """Attention of all positions of an image to each other in one head: its width goes, that of the values apart."""

    def __init__(self):
        super().__init__()
        self.stem, self.asks = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 6, 1)
        # A bias of the keys would shift all weights of a softmax alike.
        self.answers = nn.Conv2d(8, 6, 1, bias=False)
        self.values, self.out, self.head = nn.Conv2d(8, 5, 1), nn.Conv2d(5, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        weights = torch.softmax(self.asks(x).flatten(2).transpose(1, 2) @ self.answers(x).flatten(2), -1)
        read = self.values(x).flatten(2) @ weights.transpose(1, 2)
        return self.head((x + self.out(read.view(x.shape[0], -1, *x.shape[2:]))).mean((2, 3)))


class VisionTransformer(torchvision.models.VisionTransformer):
    """torchvision's: torch's attention, whose embedding, heads and MLP lose channels apart from each other."""

    def __init__(self):
        super().__init__(image_size=8, patch_size=4, num_layers=1, num_heads=4, hidden_dim=8, mlp_dim=12, num_classes=4)


class CrossAttention(nn.Module):
    """torch's attention as decoders use it: keys and values of another width, a mask, and weights that are returned."""

    def __init__(self):
        super().__init__()
        self.patches, self.image = nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(3, 6, 2, stride=2)
        self.attention = nn.MultiheadAttention(8, 4, kdim=6, vdim=6, batch_first=True)
        self.again, self.head = nn.MultiheadAttention(8, 2, bias=False), nn.Linear(8, 4)
        self.register_buffer("mask", torch.triu(torch.ones(4, 4, dtype=torch.bool), 1))

    def forward(self, x):
        asked, read = (layer(x).flatten(2).transpose(1, 2) for layer in (self.patches, self.image))
        asked = asked + self.attention(asked, read, read)[0]
        sequence = asked.transpose(0, 1)
        return self.head((sequence + self.again(sequence, sequence + 1, sequence, attn_mask=self.mask)[0]).mean(0))


class HeadsOfEmbedding(nn.Module):
    """Attention whose code divides the width of the embedding by the number of heads: both lose equal shares."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.norm, self.qkv, self.proj = 4, nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x):
        n, length, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, length, 3, self.num_heads, width // self.num_heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        weights = (queries @ keys.transpose(-2, -1) * (width // self.num_heads) ** -0.5).softmax(-1)
        return x + self.proj((weights @ values).transpose(1, 2).reshape(n, length, width))


class Embedding(nn.Module):
    """An embedding that two blocks of attention share, and an MLP."""

    def __init__(self):
        super().__init__()
        self.embed_dim, self.patches = 12, nn.Conv2d(3, 12, 4, stride=4)
        self.first, self.second = HeadsOfEmbedding(), HeadsOfEmbedding()
        self.wide, self.narrow, self.head = nn.Linear(12, 16), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x):
        x = self.second(self.first(self.patches(x).view(x.shape[0], self.embed_dim, -1).transpose(1, 2)))
        return self.head((x + self.narrow(F.gelu(self.wide(x)))).mean(1))


class Autocast(nn.Module):
    """A forward that computes in 16-bit floats by itself, up to its head, which gets 32-bit floats."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            x = F.relu(self.read(F.relu(self.stem(x))))
        return self.head(x.mean((2, 3)).float())


class HandNorm(nn.Module):
    """A layer norm over the channels of an image, written by hand (ConvNeXt, NAFNet)."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        x = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ResponseNorm(nn.Module):
    """A global response norm over channels that lie last (ConvNeXt V2)."""

    def __init__(self, width):
        super().__init__()
        self.gain, self.offset = nn.Parameter(torch.zeros(1, 1, 1, width)), nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x):
        lengths = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        return self.gain * (x * (lengths / (lengths.mean(-1, keepdim=True) + 1e-6))) + self.offset + x


class NormsByHand(nn.Module):
    """Norms over channels written by hand."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.filter = nn.Conv2d(3, 8, 2, stride=2), HandNorm(8), nn.Conv2d(8, 8, 3, groups=8)
        self.wide, self.response, self.narrow = nn.Linear(8, 12), ResponseNorm(12), nn.Linear(12, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.filter(self.norm(self.stem(x))).permute(0, 2, 3, 1)
        x = self.narrow(self.response(F.gelu(self.wide(x))))
        return self.head(F.relu(x).mean((1, 2)))


class Lengths(nn.Module):
    """Features of length 1 with a gain per channel (SSD, ArcFace), a gate by mean and maximum of channels (CBAM)."""

    def __init__(self):
        super().__init__()
        self.stem, self.gate, self.read = nn.Conv2d(3, 8, 3), nn.Conv2d(2, 1, 3, padding=1), nn.Conv2d(8, 6, 3)
        self.gain, self.head = nn.Parameter(torch.rand(8)), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x * self.gate(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()
        x = F.normalize(x, dim=1) * self.gain.view(1, -1, 1, 1)
        return self.head(F.normalize(F.relu(self.read(x)).mean((2, 3)), dim=1))


class ModulatedNorms(nn.Module):
    """Layer norms without gain and offset, scaled and shifted by what another layer makes (DiT), and whole groups."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.LayerNorm(8, elementwise_affine=False)
        self.modulate, self.read, self.head = nn.Linear(8, 16), nn.Conv2d(8, 12, 3), nn.Linear(12, 4)
        self.pairs = nn.GroupNorm(6, 12, affine=False)

    def forward(self, x):
        x = F.relu(self.stem(x))
        scale, shift = self.modulate(x.mean((2, 3))).chunk(2, 1)
        x = self.norm(x.permute(0, 2, 3, 1)) * (1 + scale[:, None, None]) + shift[:, None, None]
        return self.head(F.relu(self.pairs(self.read(x.permute(0, 3, 1, 2)))).mean((2, 3)))


class Blur(nn.Module):
    """A fixed filter for every channel, kept once or as often as there are channels."""

    def __init__(self, channels, kept):
        super().__init__()
        self.channels = channels
        self.register_buffer("filter", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).repeat(kept, 1, 1, 1) / 16)

    def forward(self, x):
        if len(self.filter) > 1:
            return F.conv2d(x, self.filter, groups=self.channels)
        return F.conv2d(x, self.filter.expand(x.shape[1], -1, -1, -1), groups=x.shape[1], padding=1)


class Blurs(nn.Module):
    """Blurs before a convolution and behind it."""

    def __init__(self):
        super().__init__()
        self.stem, self.once, self.read = nn.Conv2d(3, 8, 3), Blur(8, 1), nn.Conv2d(8, 6, 3)
        self.often, self.head = Blur(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.often(F.relu(self.read(self.once(F.relu(self.stem(x)))))).mean((2, 3)))


class BareGroupNorms(nn.Module):
    """Group norms without gain and offset: one channel of every group goes."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)
        self.pairs, self.image = nn.GroupNorm(2, 8, affine=False), nn.GroupNorm(1, 6, affine=False)

    def forward(self, x):
        x = F.relu(self.pairs(self.stem(x)))
        return self.head(F.relu(self.image(self.read(x))).mean((2, 3)))


BROUGHT = {
    PaddedStem: {"stem": 8, "read": 6},
    CausalPadding: {"stem": 8},
    CircularPadding: {"stem": 8, "read": 6},
    WrittenParts: {"conv": 4, "read": 6},
    FrozenNorms: {"stem": 8, "read": 6},
    Constants: {"first": 8, "second": 8, "third": 6},
    SelfGated: {"stem": 8},
    ComputedWeights: {"stem": 8, "inner": 6, "last": 8},
    WidthsReadElsewhere: {"first": 8, "between": 8, "left": 6},
    Heads: {"patches": 8, "first.qkv": 4, "second.query": 4},
    HeadsInBlocks: {"patches": 8, "qkv.0": 4},
    VisionTransformer: {
        "conv_proj": 8,
        "encoder.layers.encoder_layer_0.self_attention": 4,
        "encoder.layers.encoder_layer_0.mlp.0": 12,
    },
    CrossAttention: {"patches": 8, "image": 6, "attention": 4, "again": 2},
    Embedding: {"patches": 4, "wide": 16},
    Autocast: {"stem": 8, "read": 6},
    ModulatedNorms: {"stem": 8, "read": 6},
    Blurs: {"stem": 8, "read": 6},
    NonLocal: {"stem": 8, "asks": 6, "values": 5},
    NormsByHand: {"stem": 8, "wide": 12, "narrow": 6},
    Lengths: {"stem": 8, "read": 6},
    BareGroupNorms: {"stem": 4, "read": 6},
    NormedWeights: {"stem": 8, "read": 6, "wide": 10},
}
"""Widths of the groups that must be free, by group."""
