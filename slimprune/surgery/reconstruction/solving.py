"""The solution of one layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.regression import InputRows, LinearLayer, Moments, Solution, weight_matrix, weight_of
from slimprune.surgery.reconstruction.targets import Target

_CHUNK = 1 << 24
"""Number of float64 entries of the rows that are in memory at once."""


@dataclass(frozen=True)
class SolvedLayer:
    """What was found out about a layer that reads removed channels.

    Errors are squared errors of its output against the dense layer's on samples held out from fitting, relative to the
    variance of the dense output. Errors that a batch norm behind the layer makes up for, shifts, do not count.

    Attributes:
        name: Name of the layer.
        before: Error with the kept weights; None if it was not computed.
        after: Error with the new weights; None if they were not computed.
        reason: Why the layer keeps its weights, or None if it has new ones.
    """

    name: str
    before: float | None = None
    after: float | None = None
    reason: str | None = None


def solve_layer(name: str, layer: LinearLayer, inputs: Tensor, target: Target, ridge: float) -> SolvedLayer:
    """Set the weights of a layer, in place, to those whose outputs come closest to the target.

    They stay as they are if the new ones are not better on the held-out positions.

    Args:
        name: Name of the layer.
        layer: The layer of the slim network.
        inputs: Its inputs.
        target: Outputs of the dense layer.
        ridge: See `Moments.solve`.
    """
    fitted, held = _moments(layer, inputs, target)
    old = weight_matrix(layer).double().to(fitted.xx.device)
    if target.normed:
        kept, found = fitted.shifted(old), fitted.solve(old, ridge, shift=True)
    elif layer.bias is not None:
        bias = layer.bias.detach().double().to(old.device).view(len(old), -1)
        kept, found = Solution(old, bias), fitted.solve(old, ridge, shift=True)
    else:
        kept, found = Solution(old, torch.zeros_like(fitted.y)), fitted.solve(old, ridge, shift=False)
    before, after = held.error(kept), held.error(found)
    if not after < before:
        return SolvedLayer(name, before, after, "its error on held-out samples would not be lower")
    with torch.no_grad():
        layer.weight.copy_(weight_of(layer, found.weights))
        if layer.bias is not None:
            layer.bias.copy_(found.bias.flatten())
    return SolvedLayer(name, before, after)


def _moments(layer: LinearLayer, inputs: Tensor, target: Target) -> tuple[Moments, Moments]:
    """Return the moments of the fitted and of the held-out positions."""
    rows = InputRows(layer, inputs, target.sizes)
    chunk = max(1, _CHUNK // weight_matrix(layer)[..., 0].numel())
    parts = []
    for positions, outputs in zip((target.fit, target.held), _split(target), strict=True):
        some = zip(positions.split(chunk), outputs.split(chunk), strict=True)
        pieces = [_moments_at(rows, layer, where, wanted) for where, wanted in some]
        total = pieces[0]
        for piece in pieces[1:]:
            total = total + piece
        parts.append(total)
    return parts[0], parts[1]


def _split(target: Target) -> tuple[Tensor, Tensor]:
    return target.outputs[: len(target.fit)], target.outputs[len(target.fit) :]


def _moments_at(rows: InputRows, layer: LinearLayer, positions: Tensor, outputs: Tensor) -> Moments:
    x = rows.at(positions)
    y = outputs.unflatten(1, (len(x), -1)).transpose(0, 1)
    # Apple's GPUs have no float64.
    return Moments.of(x.cpu(), y.cpu()) if x.device.type == "mps" else Moments.of(x, y)
