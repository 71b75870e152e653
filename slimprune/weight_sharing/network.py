"""Networks of all widths that share their weights."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from slimprune.forward import Loss
from slimprune.graph import ChannelGroup, keep_channels, named_tensors, narrowed
from slimprune.graph.groups import Integers
from slimprune.weight_sharing.slices import cut, find_slices

Draw = Callable[[], Integers]
"""Function that returns random widths, [G], from torch's generator on the CPU."""


class SharedNetwork(nn.Module):
    """A network that computes with other widths in every training step; all widths share one set of weights.

    A network of width w has the channels of the w first ranks. Nothing is masked: parameters and buffers are sliced, so
    a step costs what a step of the slim network costs. In training mode every call draws new widths; in eval mode the
    widths are `widths`.

    Args:
        model: The dense network; it is not modified.
        groups: Its channel groups, G of them.
        widest: Greatest widths, [G].
        draw: Source of random widths.
        ranks: Rank of each channel in its group, 0 for the best, int64 [width] by group; by default their order.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        widest: Integers,
        draw: Draw,
        ranks: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        ranks = ranks or {}
        kept = {
            group.id: (ranks.get(group.id, torch.arange(group.width)) < int(width)).nonzero().flatten()
            for group, width in zip(groups, widest, strict=True)
        }
        slices = find_slices(named_tensors(model), groups, ranks)
        self.network = keep_channels(model, groups, kept)
        self.widths = widest
        self._slices = [one.only(widest) for one in slices]
        self._draw = draw

    def forward(self, *inputs: Any) -> Any:
        """Return the output of the network at random widths in training mode, and at `widths` in eval mode."""
        widths = self._draw() if self.training else self.widths
        with narrowed(self.network, cut(named_tensors(self.network), self._slices, widths)):
            return self.network(*inputs)


def losses_at(
    shared: SharedNetwork, widths: Integers, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss, *, amp: bool
) -> list[float]:
    """Return the loss of the network of these widths, [G], on each batch.

    Batch norms use the statistics of each batch, since those that are stored are not of these widths.
    """
    shared.widths = widths
    return losses_of(shared, batches, loss, amp=amp)


def losses_of(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss, *, amp: bool) -> list[float]:
    """Return the loss on each batch of a network whose norms use the batch's statistics; what they store changes."""
    losses = []
    with torch.no_grad(), _batch_statistics(model):
        for inputs, targets in batches:
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
                output = model(inputs)
            losses.append(float(loss(output.float(), targets)))
    return losses


@contextmanager
def _batch_statistics(model: nn.Module) -> Iterator[None]:
    """Keep norms in training mode and everything else in eval mode; the model is left in eval mode."""
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        model.eval()
