"""Elimination of inputs of a regression one after the other, while the remaining weights make up for each."""

import torch
from torch import Tensor


class Elimination:
    """A regression y = x^T W that loses blocks of its inputs, and solves the remaining weights anew after each.

    With the Gram matrix H of the inputs and its inverse P, the squared error grows by W_J^T (P_JJ)^-1 W_J when the
    inputs J are left out; the others change by -P_:J (P_JJ)^-1 W_J, and P becomes the inverse for the inputs that are
    left.

    Args:
        gram: Gram matrix of the inputs with a ridge, [D, D], float64.
        weights: Weights whose outputs are to be kept, [D, K], float64.
        blocks: Inputs of each block, int64 [B, M], all different.

    Source: Hassibi and Stork, Optimal Brain Surgeon (NeurIPS 1992), equation 5, for blocks of weights.
    """

    def __init__(self, gram: Tensor, weights: Tensor, blocks: Tensor) -> None:
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        self._weights = weights.clone()
        self._blocks = blocks.to(gram.device)

    def errors(self) -> Tensor:
        """Return the growth of the squared error, summed over the outputs, for each block [B]; 0 for removed ones."""
        weights = self._weights[self._blocks]
        inner = self._inverse[self._blocks[:, :, None], self._blocks[:, None, :]]
        solved: Tensor = torch.linalg.solve(inner, weights)
        return (weights * solved).sum((1, 2)).clamp_min(0)

    def remove(self, block: int) -> None:
        """Leave out the inputs of a block."""
        inputs = self._blocks[block]
        columns = self._inverse[:, inputs]
        ratio = torch.linalg.solve(columns[inputs], columns.mT).mT
        self._weights -= ratio @ self._weights[inputs]
        self._inverse -= ratio @ columns.mT
        # What rounding leaves there would count as inputs again.
        self._weights[inputs] = 0
        self._inverse[inputs], self._inverse[:, inputs] = 0, 0
        self._inverse[inputs, inputs] = 1
