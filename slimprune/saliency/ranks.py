"""Ranks of scores, and their correlation."""

import torch
from torch import Tensor


def spearman(one: Tensor, other: Tensor) -> float:
    """Return the Spearman rank correlation of two vectors [N].

    Tied values get their mean rank. The result is 0 if one vector is constant.
    """
    both = torch.stack([ranks(one), ranks(other)])
    centred = both - both.mean(1, keepdim=True)
    norms = centred.norm(dim=1)
    return float((centred[0] @ centred[1]) / (norms[0] * norms[1])) if bool((norms > 0).all()) else 0.0


def ranks(values: Tensor) -> Tensor:
    """Return the ranks [N], from 1 for the lowest; tied values get their mean rank."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    found: Tensor = counts.cumsum(0).double() - (counts - 1) / 2
    return found[inverse]
