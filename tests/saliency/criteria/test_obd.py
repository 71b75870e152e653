import pytest
import torch
import torch.nn.functional as F

from slimprune.errors import UsageError
from slimprune.saliency.criteria.obd import OptimalBrainDamage
from tests.saliency.references import gated_output, open_gates, residual_problem


def hessian():
    """The Hessian of the loss with respect to all 6 + 5 gates, by autograd."""
    model, ((x, target),), problem = residual_problem()

    def loss(gates):
        stem, inner = gates.split([6, 5])
        return F.cross_entropy(gated_output(model, {"stem": stem, "inner": inner}, x), target)

    return torch.autograd.functional.hessian(loss, torch.cat(list(open_gates().values()))), problem


def test_one_probe_is_the_product_of_signs_and_the_hessian_of_the_gates():
    exact, problem = hessian()
    generator = torch.Generator().manual_seed(problem.seed)
    signs = torch.cat([2.0 * torch.randint(2, (count,), generator=generator) - 1 for count in (6, 5)]).double()
    found = OptimalBrainDamage(probes=1).score(problem)
    expected = (signs * (exact @ signs) / 2).clamp_min(0)
    assert (torch.cat([found["stem"], found["inner"]]) - expected).abs().max() <= 1e-8 * expected.max()


def test_many_probes_are_half_the_diagonal_of_the_hessian():
    """The standard error of an entry is the norm of the other entries of its row / (2 * sqrt(probes))."""
    exact, problem = hessian()
    found = OptimalBrainDamage(probes=200).score(problem)
    diagonal = exact.diagonal()
    error = (exact - torch.diag(diagonal)).norm(dim=1) / (2 * 200**0.5)
    difference = torch.cat([found["stem"], found["inner"]]) - (diagonal / 2).clamp_min(0)
    assert (difference.abs() <= 4 * error).all()


def test_probes_are_refused_below_one():
    with pytest.raises(UsageError, match="expected probes >= 1, got 0"):
        OptimalBrainDamage(probes=0)
