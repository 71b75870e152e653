"""Networks of all widths with shared weights: each computes what the slim network of these widths computes."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.graph import find_groups, keep_channels, named_tensors, narrowed
from slimprune.weight_sharing import SharedNetwork, losses_at, random_proportions
from tests.networks import EXAMPLE, Concat, Depthwise, Flatten, Residual, Transposed, toy


class Grouped(nn.Module):
    """A convolution that loses channels of both its groups, and a group norm."""

    def __init__(self):
        super().__init__()
        self.stem, self.pairs = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm, self.head = nn.GroupNorm(2, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.pairs(F.relu(self.stem(x))))).mean((2, 3)))


KINDS = [Residual, Concat, Flatten, Depthwise, Transposed, Grouped]
INPUTS = torch.randn(4, *EXAMPLE.shape[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def with_groups(kind):
    model = toy(kind)
    return model.double(), find_groups(model, EXAMPLE.double())


def narrow_widths(groups, share):
    """Widths of free groups as a share of the dense ones, at least 1, and dense widths of the others."""
    whole = [group.width if group.protected_reason else max(1, round(share * group.width)) for group in groups]
    return np.array(whole)


def shared_of(model, groups, *, ranks=None):
    return SharedNetwork(model, groups, narrow_widths(groups, 1.0), lambda: narrow_widths(groups, 0.5), ranks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_a_narrow_network_computes_what_the_slim_one_does(kind, share):
    model, groups = with_groups(kind)
    shared, widths = shared_of(model, groups), narrow_widths(groups, share)
    shared.eval().widths = widths
    kept = {group.id: torch.arange(width) for group, width in zip(groups, widths, strict=True)}
    slim = keep_channels(model, groups, kept).eval()
    assert torch.equal(shared(INPUTS), slim(INPUTS))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_shared_weights_of_the_kept_channels_alone(kind):
    model, groups = with_groups(kind)
    shared, widths = shared_of(model, groups), narrow_widths(groups, 0.5)
    kept = {group.id: torch.arange(width) for group, width in zip(groups, widths, strict=True)}
    slim = keep_channels(model, groups, kept).train()
    shared.train()(INPUTS).square().sum().backward()
    slim(INPUTS).square().sum().backward()
    gradients = {name: tensor.grad for name, tensor in shared.network.named_parameters()}
    with_gradients = copy.deepcopy(model)
    for name, tensor in with_gradients.named_parameters():
        tensor.data = gradients[name]
    cut = named_tensors(keep_channels(with_gradients, groups, kept))
    for name, tensor in slim.named_parameters():
        torch.testing.assert_close(cut[name], tensor.grad)
        assert torch.isclose(gradients[name].abs().sum(), tensor.grad.abs().sum())


def test_the_best_channels_come_first():
    """Of three channels the scores rank the last first: a network of width 1 has that one."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1)).double()
    groups = find_groups(model, EXAMPLE.double())
    ranks = {groups[0].id: torch.tensor([1, 2, 0])}
    shared = shared_of(model, groups, ranks=ranks).eval()
    for width, channels in ((1, [2]), (2, [0, 2])):
        shared.widths = np.array([width, 2])
        slim = keep_channels(model, groups, {groups[0].id: torch.tensor(channels)}).eval()
        assert torch.equal(shared(INPUTS), slim(INPUTS))


def test_a_shared_network_has_no_more_weights_than_its_widest():
    model, groups = with_groups(Residual)
    widest = narrow_widths(groups, 0.5)
    shared = SharedNetwork(model, groups, widest, lambda: widest)
    kept = {group.id: torch.arange(width) for group, width in zip(groups, widest, strict=True)}
    slim = keep_channels(model, groups, kept)
    assert [tensor.shape for tensor in shared.parameters()] == [tensor.shape for tensor in slim.parameters()]


def test_a_narrowed_model_is_as_before_afterwards():
    model, _ = with_groups(Grouped)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    smaller = {"pairs.weight": model.pairs.weight[:4, :2], "pairs.bias": model.pairs.bias[:4]}
    with narrowed(model, smaller):
        assert (model.pairs.in_channels, model.pairs.out_channels, model.pairs.groups) == (4, 4, 2)
    with pytest.raises(RuntimeError, match="channels"), narrowed(model, {"stem.weight": model.stem.weight[:, :1]}):
        model(INPUTS)
    assert (model.pairs.in_channels, model.pairs.out_channels, model.pairs.groups) == (8, 8, 2)
    assert isinstance(model.pairs.weight, nn.Parameter)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_loss_is_measured_with_the_statistics_of_its_batch():
    """Running statistics are far off, so a loss that used them would differ from that of a network in training mode."""
    model, groups = with_groups(Residual)
    shared, widths = shared_of(model, groups), narrow_widths(groups, 0.5)
    targets = torch.tensor([0, 1, 2, 3])
    (found,) = losses_at(shared, widths, [(INPUTS, targets)], F.cross_entropy, amp=False)
    kept = {group.id: torch.arange(width) for group, width in zip(groups, widths, strict=True)}
    slim = keep_channels(model, groups, kept).train()
    assert found == pytest.approx(float(F.cross_entropy(slim(INPUTS), targets).detach()), rel=1e-6)
    assert found != pytest.approx(float(F.cross_entropy(slim.eval()(INPUTS), targets).detach()), rel=1e-3)


def test_random_proportions_follow_the_generator():
    one, same, other = (random_proportions(9, torch.Generator().manual_seed(seed), spread=0.5) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert np.isfinite(one).all()
