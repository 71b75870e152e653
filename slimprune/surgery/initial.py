"""Initial weights of a slim network before its training: the kept ones, rescaled, or drawn anew."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slimprune.errors import UsageError
from slimprune.graph import named_tensors, with_values

Treatment = Callable[[Tensor, Tensor, float, torch.Generator], Tensor]
"""(slim weight, dense weight, sqrt(dense fan-in / slim fan-in), generator) -> initial weight of the slim shape."""


def _keep(slim: Tensor, dense: Tensor, gain: float, generator: torch.Generator) -> Tensor:
    return slim


def _rescale(slim: Tensor, dense: Tensor, gain: float, generator: torch.Generator) -> Tensor:
    return slim * gain


def _redraw(slim: Tensor, dense: Tensor, gain: float, generator: torch.Generator) -> Tensor:
    chosen = torch.randint(dense.numel(), slim.shape, generator=generator)
    return dense.flatten()[chosen.to(dense.device)] * gain


INITIALIZERS: Mapping[str, Treatment] = {"keep": _keep, "rescale": _rescale, "reinit": _redraw}


def initialise(slim: nn.Module, dense: nn.Module, how: str, *, seed: int = 0) -> nn.Module:
    """Return a copy of a slim module with the initial weights for its training.

    `keep` leaves those of the kept channels. `rescale` multiplies the weights of every convolution and linear layer by
    sqrt(dense fan-in / slim fan-in), so that the variance of its output matches that of the dense layer again. `reinit`
    draws every trained tensor anew from its values in the dense network, whatever initialiser produced them, and
    rescales.

    Args:
        slim: The slim module; it is not modified.
        dense: The dense module with its initial weights; it is not modified.
        how: `keep`, `rescale` or `reinit`.
        seed: Seed of `reinit`.

    Raises:
        UsageError: If the treatment is unknown.

    Source: `rescale` and `reinit` are compared by van Amersfoort et al., Single Shot Structured Pruning Before Training
    (2020).
    """
    if how not in INITIALIZERS:
        raise UsageError(f"expected a treatment of the initial weights ({', '.join(INITIALIZERS)}), got {how!r}")
    generator = torch.Generator().manual_seed(seed)
    fans, former_fans, former = _fans_in(slim), _fans_in(dense), named_tensors(dense)
    treated = {}
    for name, weight in slim.named_parameters():
        if weight.requires_grad:
            gain = math.sqrt(former_fans[name] / fans[name]) if name in fans else 1.0
            treated[name] = INITIALIZERS[how](weight.detach(), former[name].detach(), gain, generator).clone()
    return with_values(slim, treated)


def _fans_in(model: nn.Module) -> dict[str, int]:
    """Return the number of inputs that are summed in one output, by the name of the weight."""
    fans = {}
    for name, layer in model.named_modules():
        weight = f"{name}.weight" if name else "weight"
        if isinstance(layer, _ConvNd):
            fans[weight] = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        elif isinstance(layer, nn.Linear):
            fans[weight] = layer.in_features
    return fans
