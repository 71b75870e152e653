"""Our channel groups as groups of torch-pruning, which its importances can score."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from slimprune.errors import UnsupportedModelError, kind_and_line
from slimprune.graph import ChannelGroup, Slot

Importance = Callable[[Any], Tensor | None]
"""An importance of torch-pruning: group -> score of each channel, None if it supports no layer of the group."""


@dataclass(frozen=True, eq=False)
class _Item:
    """One layer of a group as torch-pruning sees it.

    Attributes:
        layer: The layer.
        function: Name of the pruning function that would remove the channels from the layer.
        index: Int64 [width, entries]; the positions of each channel in the layer, ascending.
    """

    layer: nn.Module
    function: str
    index: Tensor

    @property
    def entries(self) -> int:
        """Number of positions per channel."""
        return self.index.shape[1]


def channel_scores(importance: Importance, network: nn.Module, group: ChannelGroup) -> Tensor:
    """Return the scores that an importance of torch-pruning gives to the channels of a group.

    If every supported layer has several entries per channel (layers of several convolution groups, norms behind a
    flatten), the entries are scored separately and then averaged, as torch-pruning's pruner does.

    Args:
        importance: One of `torch_pruning.importance`; the gradients that it reads must be in place.
        network: The network whose weights are scored.
        group: One of the network's groups.

    Returns:
        Scores [width], in float32.

    Raises:
        UnsupportedModelError: If the importance supports no layer of the group, fails on it, or gives scores that are
            not finite.
    """
    name = type(importance).__name__
    # torch-pruning takes the size of its result from the first supported layer.
    items = sorted(_items(network, group), key=lambda item: item.entries)
    known = [item for item in items if _asked(importance, [item], item.entries, group) is not None]
    if not known:
        raise UnsupportedModelError(f"{name} of torch-pruning knows no layer of group {group.id}")
    parts = gcd(*(item.entries for item in known))
    if known[0].entries != parts:
        raise UnsupportedModelError(f"expected layers with a common number of entries per channel, got {group.id}")
    scores = _asked(importance, known, parts, group)
    if scores is None or not bool(scores.isfinite().all()):
        raise UnsupportedModelError(f"expected finite scores, got others from {name} of torch-pruning on {group.id}")
    return scores.view(group.width, parts).mean(1)


def _asked(importance: Importance, items: list[_Item], parts: int, group: ChannelGroup) -> Tensor | None:
    """Return the scores of the importance; a failure of torch-pruning becomes one line."""
    try:
        return importance(_peer_group(items, parts))
    except (RuntimeError, LookupError, TypeError, AttributeError, NotImplementedError) as error:
        name, said = type(importance).__name__, kind_and_line(error)
        raise UnsupportedModelError(f"{name} of torch-pruning fails on group {group.id}: {said}") from error


def _items(network: nn.Module, group: ChannelGroup) -> Iterator[_Item]:
    """Yield the layers that torch-pruning's importances use; depthwise filters and other parameters are left out."""
    for slot in group.slots:
        layer = network.get_submodule(slot.layer)
        if slot.name.rpartition(".")[2] != "weight":
            continue
        if isinstance(layer, _ConvNd):
            yield from _convolution(layer, slot)
        elif isinstance(layer, nn.Linear):
            way = "in" if slot.dim == 1 else "out"
            yield _Item(layer, f"prune_linear_{way}_channels", slot.index)
        elif isinstance(layer, _BatchNorm):
            yield _Item(layer, "prune_batchnorm_out_channels", slot.index)
        elif isinstance(layer, nn.LayerNorm):
            yield _Item(layer, "prune_layernorm_out_channels", slot.index)


def _convolution(layer: _ConvNd, slot: Slot) -> Iterator[_Item]:
    if slot.dim != int(layer.transposed):
        item = _Item(layer, "prune_conv_in_channels", slot.index)
        yield item if layer.transposed else replace(item, index=_numbered_through(slot.index, layer))
    elif layer.groups == 1 or layer.groups != layer.out_channels:
        yield _Item(layer, "prune_conv_out_channels", slot.index)


def _numbered_through(columns: Tensor, layer: _ConvNd) -> Tensor:
    """Return columns [width, entries] of a weight as input channels; a column reads one channel in each group."""
    first = torch.arange(layer.groups) * (layer.in_channels // layer.groups)
    return (columns[:, None, :] + first[None, :, None]).flatten(1)


def _peer_group(items: list[_Item], parts: int) -> Any:
    """Return a group of torch-pruning with the given layers, in which each channel counts as `parts` channels."""
    import torch_pruning
    from torch_pruning.pruner import function

    result = torch_pruning.dependency.Group()
    for item in items:
        node = torch_pruning.dependency.Node(item.layer, None)
        prune = getattr(function, item.function)
        roots = torch.arange(len(item.index))[:, None] * parts + torch.arange(item.entries) * parts // item.entries
        # Some importances sort only the indices, so they must be in order already.
        order = item.index.flatten().argsort()
        result.add_dep(
            torch_pruning.dependency.Dependency(prune, prune, node, node), item.index.flatten()[order].tolist()
        )
        result[len(result) - 1].root_idxs = roots.flatten()[order].tolist()
    return result
