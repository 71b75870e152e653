import torch

from slimprune.regression import Elimination


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows x [60, 7] that are correlated, the Gram matrix with a ridge, and weights [7, 3]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 7, dtype=torch.float64, generator=generator)
    x = x @ torch.randn(7, 7, dtype=torch.float64, generator=generator)
    weights = torch.randn(7, 3, dtype=torch.float64, generator=generator)
    return x.mT @ x + 0.5 * torch.eye(7), weights, torch.tensor([[0, 3], [1, 6], [2, 4]])


def least_error(gram: torch.Tensor, weights: torch.Tensor, without: list[int]) -> float:
    """min over v of (w - v)^T H (w - v) with v = 0 at some inputs, by solving for the others."""
    stays = [i for i in range(len(gram)) if i not in without]
    best = torch.zeros_like(weights)
    best[stays] = torch.linalg.solve(gram[stays][:, stays], gram[stays] @ weights)
    return float(((weights - best) * (gram @ (weights - best))).sum())


def test_the_error_of_a_block_is_that_of_the_best_other_weights() -> None:
    gram, weights, blocks = problem()
    found = Elimination(gram, weights, blocks).errors()
    expected = [least_error(gram, weights, block) for block in blocks.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_after_removals_errors_grow_from_what_they_were() -> None:
    gram, weights, blocks = problem()
    elimination = Elimination(gram, weights, blocks)
    elimination.remove(1)
    before = least_error(gram, weights, [1, 6])
    others = [least_error(gram, weights, [1, 6, *block]) - before for block in ([0, 3], [2, 4])]
    expected = [others[0], 0.0, others[1]]
    torch.testing.assert_close(elimination.errors(), torch.tensor(expected, dtype=torch.float64))
    elimination.remove(0)
    last = least_error(gram, weights, [0, 1, 2, 3, 4, 6]) - least_error(gram, weights, [0, 3, 1, 6])
    torch.testing.assert_close(elimination.errors(), torch.tensor([0.0, 0.0, last], dtype=torch.float64))
