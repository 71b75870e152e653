"""Training of one network by several ranks, each on its share of every batch.

Gradients are averaged after the backward pass, in one sum over all of them. `DistributedDataParallel` would send them
during it, but keeps a network from channels-last order, and fails on layers that a batch does not reach and on batch
norms that speak with the other ranks in the same pass.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.ranks.group import ALONE, Ranks, summed
from slimprune.ranks.norms import synchronised_norms


@dataclass(frozen=True)
class AcrossRanks:
    """How ranks train one network together.

    Attributes:
        ranks: The ranks; with one alone, nothing is exchanged.
        sync_bn: Whether batch norms take their statistics over the batches of all ranks.
        bf16_gradients: Whether gradients are sent in bfloat16, half as many bytes.
    """

    ranks: Ranks = ALONE
    sync_bn: bool = False
    bf16_gradients: bool = False

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over the ranks, the same on each; of one alone, the tensor itself."""
        return summed(tensor) / self.ranks.count if self.ranks.several else tensor

    def any_wants(self, wanted: bool) -> bool:
        """Return whether any rank wants something, for which several ranks exchange one number."""
        return summed(torch.tensor(float(wanted))).item() > 0 if self.ranks.several else wanted

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their means over the ranks."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.ranks.several and gradients:
            self._average(gradients, torch.bfloat16 if self.bf16_gradients else gradients[0].dtype)

    def average_statistics(self, buffers: Iterable[Tensor]) -> None:
        """Replace floating-point buffers, such as running statistics, by their means over the ranks."""
        floating = [buffer for buffer in buffers if buffer.is_floating_point()]
        if self.ranks.several and floating:
            self._average(floating, floating[0].dtype)

    def share_of(self, batches: Any) -> Any:
        """Return this rank's share of batches; those that cannot be shared are the rank's own already."""
        shared = getattr(batches, "shared", None)
        return shared(self.ranks) if self.ranks.several and callable(shared) else batches

    def synchronised(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which batch norms take their statistics as `sync_bn` says."""
        return synchronised_norms(model, self.ranks) if self.sync_bn else nullcontext()

    def _average(self, tensors: list[Tensor], dtype: torch.dtype) -> None:
        with torch.no_grad():
            flat = self.mean(torch.cat([tensor.detach().flatten().to(dtype) for tensor in tensors]))
            for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(piece.view(tensor.shape))


BY_ITSELF = AcrossRanks()
