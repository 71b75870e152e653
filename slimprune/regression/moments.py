"""Sums of products of inputs and outputs, from which least squares problems are solved in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Solution:
    """Weights of a regression.

    Attributes:
        weights: [G, D, K], G independent regressions from D inputs to K outputs.
        bias: [G, K].
    """

    weights: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over R rows x [G, R, D] and outputs y [G, R, K], in float64.

    Attributes:
        count: R.
        x: Sum of x, [G, D].
        y: Sum of y, [G, K].
        xx: Gram matrix, sum of x x^T, [G, D, D].
        xy: Sum of x y^T, [G, D, K].
        yy: Sum of y^2, [G, K].
    """

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Moments":
        """Return the sums over the given rows x [G, R, D] and outputs y [G, R, K]."""
        x, y = x.double(), y.double()
        return cls(x.shape[1], x.sum(1), y.sum(1), x.mT @ x, x.mT @ y, y.square().sum(1))

    def __add__(self, other: "Moments") -> "Moments":
        """Return the sums over the rows of both."""
        return Moments(
            self.count + other.count,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    def centred(self) -> "Moments":
        """Return the sums with the means of x and y subtracted from every row."""
        x, y = self.x / self.count, self.y / self.count
        return Moments(
            self.count,
            torch.zeros_like(x),
            torch.zeros_like(y),
            self.xx - self.count * x[:, :, None] * x[:, None, :],
            self.xy - self.count * x[:, :, None] * y[:, None, :],
            (self.yy - self.count * y.square()).clamp_min(0),
        )

    def solve(self, prior: Tensor, ridge: float, *, shift: bool) -> Solution:
        """Return the weights that minimise the squared error, with a penalty on the distance to prior weights.

        The error is sum |x^T w + b - y|^2 + lambda |w - prior|^2, where lambda is `ridge` times the mean of the Gram
        matrix's diagonal.

        Args:
            prior: [G, D, K].
            ridge: Relative weight of the penalty, above 0.
            shift: Whether the bias b is free; otherwise it is 0.
        """
        used = self.centred() if shift else self
        diagonal = used.xx.diagonal(dim1=-2, dim2=-1)
        penalty = ridge * diagonal.mean(-1).clamp_min(torch.finfo(torch.float64).tiny)
        gram = used.xx + torch.diag_embed(penalty[:, None].expand_as(diagonal))
        prior = prior.double()
        change = torch.linalg.solve(gram, used.xy - used.xx @ prior)
        return self.shifted(prior + change) if shift else Solution(prior + change, torch.zeros_like(self.y))

    def shifted(self, weights: Tensor) -> Solution:
        """Return weights [G, D, K] with the bias that makes the mean error 0."""
        return Solution(weights, (self.y - (self.x[:, None] @ weights).squeeze(1)) / self.count)

    def error(self, solution: Solution) -> float:
        """Return the sum of |x^T w + b - y|^2, relative to that of |y - mean of y|^2."""
        weights, bias = solution.weights.double(), solution.bias.double()
        fitted = (weights * (self.xx @ weights - 2 * self.xy)).sum(1)
        shifts = bias * (2 * ((self.x[:, None] @ weights).squeeze(1) - self.y) + self.count * bias)
        return float((self.yy + fitted + shifts).sum().clamp_min(0) / self.centred().yy.sum())
