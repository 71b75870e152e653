"""Weights that are held at zero during training."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slimprune.errors import UsageError
from slimprune.training.distributed import unwrap


@dataclass(frozen=True, eq=False)
class HeldWeights:
    """Masks of the weights that are trained; the others are zero and stay so.

    Gradients of masked weights are zeroed before every step of the optimizer. With a weight of zero, weight decay is
    zero as well, so that momentum, the moments of AdamW and averages of the weights stay exactly zero too.

    Attributes:
        parameters: Masked parameters.
        masks: The mask of each, in its dtype and on its device: 1 for a weight that is trained, 0 for a masked one.
    """

    parameters: tuple[nn.Parameter, ...]
    masks: tuple[Tensor, ...]

    @classmethod
    def of(cls, model: nn.Module, masks: Mapping[str, Tensor]) -> "HeldWeights":
        """Set the masked weights of a model to zero, and return what holds them there.

        Args:
            model: Model on its device, in its memory order.
            masks: Name of the parameter -> bool of its shape, True for a weight that stays.

        Raises:
            UsageError: If a parameter is missing or has another shape.
        """
        own = dict(unwrap(model).named_parameters())
        for name, mask in masks.items():
            found = tuple(own[name].shape) if name in own else "nothing"
            if found != tuple(mask.shape):
                raise UsageError(f"expected a parameter {name} of shape {tuple(mask.shape)} to mask, got {found}")
        parameters = tuple(own[name] for name in masks)
        factors = []
        with torch.no_grad():
            for parameter, mask in zip(parameters, masks.values(), strict=True):
                factors.append(torch.empty_like(parameter).copy_(mask))
                parameter.masked_fill_(~mask.to(parameter.device), 0)
        return cls(parameters, tuple(factors))

    @torch.no_grad()
    def mask_weights(self) -> None:
        """Set the masked weights to zero again."""
        torch._foreach_mul_(list(self.parameters), list(self.masks))

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of masked weights."""
        pairs = [(p.grad, m) for p, m in zip(self.parameters, self.masks, strict=True) if p.grad is not None]
        if pairs:
            torch._foreach_mul_([gradient for gradient, _ in pairs], [mask for _, mask in pairs])


def digest_of_masks(masks: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of masks and their names."""
    digest = hashlib.sha256()
    for name, mask in sorted(masks.items()):
        digest.update(f"{name} {tuple(mask.shape)} ".encode())
        digest.update(mask.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
