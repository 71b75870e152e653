"""Conversion of models written for RGB images to another number of input channels."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from slimprune.errors import UnsupportedModelError

RGB = 3


def fit_input_channels(model: nn.Module, channels: int) -> nn.Module:
    """Replace the first convolution over three channels by one over `channels`, with otherwise equal settings.

    The bias is kept. The new weight is drawn from N(0, s^2), where s is the standard deviation of the replaced weight,
    so that the architecture's scale of initialisation is preserved.

    Args:
        model: Freshly built model for inputs [B, 3, H, W]; changed in place.
        channels: Channels of the new input images, >= 1.

    Returns:
        The same model, for inputs [B, channels, H, W].

    Raises:
        UnsupportedModelError: If no convolution takes three channels.
    """
    if channels == RGB:
        return model
    name = _first_rgb_convolution(model)
    parent, _, attribute = name.rpartition(".")
    convolution = cast(nn.Conv2d, model.get_submodule(name))
    setattr(model.get_submodule(parent), attribute, _with_input_channels(convolution, channels))
    return model


def _first_rgb_convolution(model: nn.Module) -> str:
    modules: Iterator[tuple[str, nn.Module]] = model.named_modules()
    for name, module in modules:
        if isinstance(module, nn.Conv2d) and module.in_channels == RGB and module.groups == 1:
            return name
    raise UnsupportedModelError(f"expected a convolution over 3 input channels, found none in {type(model).__name__}")


@torch.no_grad()
def _with_input_channels(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    replacement = nn.Conv2d(
        channels,
        convolution.out_channels,
        kernel_size=cast(tuple[int, int], convolution.kernel_size),
        stride=cast(tuple[int, int], convolution.stride),
        padding=cast("str | tuple[int, int]", convolution.padding),
        dilation=cast(tuple[int, int], convolution.dilation),
        bias=convolution.bias is not None,
        padding_mode=convolution.padding_mode,
    ).to(convolution.weight)
    replacement.weight.normal_().mul_(convolution.weight.std())
    if convolution.bias is not None and replacement.bias is not None:
        replacement.bias.copy_(convolution.bias)
    return replacement
