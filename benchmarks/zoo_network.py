"""A network under test with what it reads, whatever library it is from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Call = Callable[[nn.Module, tuple[Tensor, ...]], Any]


@dataclass(frozen=True)
class Network:
    """A module with what it reads.

    Attributes:
        module: The network.
        example: Positional arguments for one sample.
        training_call: (module, arguments) -> outputs or losses, if training takes more than the arguments.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    training_call: Call | None = None

    def batch(self, size: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        """Draw random arguments for several samples; integers are in the range of the example."""
        generator = torch.Generator().manual_seed(seed)

        def draw(tensor: Tensor) -> Tensor:
            shape = (size, *tensor.shape[1:])
            if tensor.is_floating_point():
                return torch.randn(shape, generator=generator, dtype=dtype)
            return torch.randint(0, int(tensor.max()) + 1, shape, generator=generator)

        return tuple(map(draw, self.example))

    def run(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the floating-point tensors that a form of the network returns, in the mode that it is in."""
        call = self.training_call if module.training else None
        found = module(*inputs) if call is None else call(module, inputs)
        return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor) and leaf.is_floating_point()]

    def trains(self, module: nn.Module, backward: bool = True) -> bool | str:
        """Return whether a training step and a pass in eval mode give finite numbers, or else the error's message."""
        inputs = self.batch(2, seed=2)
        try:
            with torch.set_grad_enabled(backward):
                leaves = self.run(module.train(), inputs)
                if backward:
                    torch.stack(
                        [leaf.float().square().mean() for leaf in leaves if leaf.requires_grad]
                    ).sum().backward()
            with torch.no_grad():
                leaves += self.run(module.eval(), inputs)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, AttributeError) as error:
            return next(iter(str(error).splitlines()), type(error).__name__)
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        finite = all(bool(tensor.isfinite().all()) for tensor in [*leaves, *gradients])
        return finite or "values that are not finite"


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
