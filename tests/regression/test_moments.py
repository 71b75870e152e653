import torch

from slimprune.regression import Moments


def data(rows: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, rows, 3, dtype=torch.float64, generator=generator) + 2
    y = torch.randn(2, rows, 4, dtype=torch.float64, generator=generator) - 1
    return x, y


def test_sums_of_parts_are_the_sums_of_the_whole() -> None:
    x, y = data()
    whole, parts = Moments.of(x, y), Moments.of(x[:, :15], y[:, :15]) + Moments.of(x[:, 15:], y[:, 15:])
    for name in ("x", "y", "xx", "xy", "yy"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    assert parts.count == 40


def test_the_solution_is_that_of_lstsq() -> None:
    x, y = data()
    prior = torch.zeros(2, 3, 4)
    plain = Moments.of(x, y).solve(prior, 1e-14, shift=False)
    torch.testing.assert_close(plain.weights, torch.linalg.lstsq(x, y).solution)
    shifted = Moments.of(x, y).solve(prior, 1e-14, shift=True)
    expected = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x[..., :1])], 2), y).solution
    torch.testing.assert_close(torch.cat([shifted.weights, shifted.bias[:, None]], 1), expected)


def test_the_error_is_that_of_the_residuals() -> None:
    x, y = data()
    fit = Moments.of(x, y).solve(torch.zeros(2, 3, 4), 0.1, shift=True)
    residuals = x @ fit.weights + fit.bias[:, None] - y
    expected = residuals.square().sum() / (y - y.mean(1, keepdim=True)).square().sum()
    assert abs(Moments.of(x, y).error(fit) - float(expected)) < 1e-12


def test_a_large_ridge_keeps_the_prior() -> None:
    x, y = data()
    prior = torch.ones(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(Moments.of(x, y).solve(prior, 1e12, shift=False).weights, prior)


def test_directions_without_data_keep_the_prior() -> None:
    x = torch.tensor([[[1.0, 1.0], [2.0, 2.0]]])
    y = torch.tensor([[[4.0], [8.0]]])
    # Along (1, 1) the data ask for a sum of 4; the difference 3 - 1 of the prior stays: 3 + 1.
    found = Moments.of(x, y).solve(torch.tensor([[[4.0], [2.0]]]), 1e-10, shift=False).weights
    torch.testing.assert_close(found.flatten(), torch.tensor([3.0, 1.0], dtype=torch.float64))
