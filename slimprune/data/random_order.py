"""The random order in which samples are read."""

from collections.abc import Sized

import torch
from torch import Tensor


def random_order(samples: Sized, generator: torch.Generator) -> Tensor:
    """Return a random order of samples, int64 [N]: that of their method `shuffled` if they have one.

    Such a method gives an order in which they can be read without reading much more.
    """
    own = getattr(samples, "shuffled", None)
    order: Tensor = torch.randperm(len(samples), generator=generator) if own is None else own(generator)
    return order
