"""U-Net (Ronneberger, Fischer and Brox, MICCAI 2015) with batch norm and padded convolutions."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from slimprune.errors import UsageError
from slimprune.models.architecture import SEGMENTATION, Architecture, Family, InputSpec

Upsampling = Literal["transposed", "bilinear"]
UPSAMPLINGS = ("transposed", "bilinear")


@dataclass(frozen=True)
class UNetOptions:
    """Options that may follow `unet:` in a name.

    Attributes:
        depth: Number of times the resolution is halved, >= 1.
        width: Channels of the finest level, >= 1; each coarser level has twice as many as the level above.
        upsampling: "transposed" (2x2 transposed convolution, as in the paper) or "bilinear" (interpolation, then a 3x3
            convolution); both halve the number of channels.
    """

    depth: int = 4
    width: int = 64
    upsampling: Upsampling = "transposed"


def double_convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return two blocks of 3x3 convolution, batch norm and ReLU: [B, C_in, H, W] -> [B, C_out, H, W].

    Weights are drawn from N(0, 2 / fan_in), section 3 of the paper.
    """
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        convolution = nn.Conv2d(channels, channels_out, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Up(nn.Module):
    """One level of the expanding path: double the resolution, concatenate the skip connection, convolve twice.

    Args:
        channels: Channels of the coarse features; the skip connection and the output have half as many.
        upsampling: Method of upsampling. See `UNetOptions`.
    """

    def __init__(self, channels: int, upsampling: Upsampling) -> None:
        super().__init__()
        half = channels // 2
        self.up: nn.Module
        if upsampling == "transposed":
            self.up = nn.ConvTranspose2d(channels, half, kernel_size=2, stride=2)
        else:
            interpolation = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
            self.up = nn.Sequential(interpolation, nn.Conv2d(channels, half, 3, padding=1))
        self.conv = double_convolution(channels, half)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Merge coarse [B, C, ceil(H / 2), ceil(W / 2)] and skip [B, C/2, H, W] into [B, C/2, H, W]."""
        height, width = skip.shape[-2:]
        fine = self.up(coarse)[..., :height, :width]
        joined: Tensor = self.conv(torch.cat([skip, fine], dim=1))
        return joined


class UNet(nn.Module):
    """Encoder and decoder with skip connections: [B, channels, H, W] -> logits [B, classes, H, W], for any H and W.

    Odd sides are rounded up when halved: the last row or column is pooled alone, and cropped again in the decoder.

    Args:
        channels: Channels of the input images.
        classes: Channels of the output, one logit per pixel each.
        options: Depth, width and upsampling.
    """

    def __init__(self, channels: int, classes: int, options: UNetOptions) -> None:
        super().__init__()
        widths = [options.width * 2**level for level in range(options.depth + 1)]
        self.stem = double_convolution(channels, widths[0])
        self.pool = nn.MaxPool2d(kernel_size=2, ceil_mode=True)
        self.down = nn.ModuleList(double_convolution(fine, coarse) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(Up(coarse, options.upsampling) for coarse in reversed(widths[1:]))
        self.head = nn.Conv2d(widths[0], classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes, H, W] from images [B, channels, H, W]."""
        features = self.stem(images)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(self.pool(features))
        for up in self.up:
            features = up(features, skips.pop())
        logits: Tensor = self.head(features)
        return logits


def parse_options(text: str) -> UNetOptions:
    """Parse "depth=3,width=32,upsampling=bilinear"; options that are not named keep their defaults.

    Raises:
        UsageError: If a key or a value is not known.
    """
    found: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in ("depth", "width", "upsampling") or key in found:
            raise UsageError(f"expected unet options depth, width and upsampling, each once, got {item!r}")
        found[key] = value
    return UNetOptions(
        depth=_positive("depth", found.get("depth", "4")),
        width=_positive("width", found.get("width", "64")),
        upsampling=_upsampling(found.get("upsampling", "transposed")),
    )


def _positive(key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"expected unet {key} to be an integer of at least 1, got {value!r}")
    return int(value)


def _upsampling(value: str) -> Upsampling:
    if value not in UPSAMPLINGS:
        raise UsageError(f"expected unet upsampling to be transposed or bilinear, got {value!r}")
    return cast(Upsampling, value)


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build a U-Net.

    Raises:
        UsageError: If an option is invalid.
    """
    return UNet(inputs.channels, inputs.classes, parse_options(options))


FAMILY = Family(
    (Architecture("unet", SEGMENTATION, "U-Net with batch norm; unet:depth=4,width=64,upsampling=bilinear"),),
    build,
)
