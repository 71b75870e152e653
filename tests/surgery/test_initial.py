import pytest
import torch
from torch import nn

from slimprune.budget import Budget, CostModel, allocate
from slimprune.errors import UsageError
from slimprune.graph import find_groups, keep_channels
from slimprune.surgery import initialise
from slimprune.surgery.initial import INITIALIZERS
from tests.networks import EXAMPLE, TOYS, Depthwise, Flatten, Residual, Transposed, toy


def slimmed(kind, kept):
    """Dense and slim network; `kept` names how many channels of each group stay, the last ones."""
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    chosen = {g.id: torch.arange(g.width)[-kept[g.id] :] for g in groups if g.id in kept}
    return model, keep_channels(model, groups, chosen)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(model, before):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


# What a slim weight is multiplied by: sqrt(dense fan-in / slim fan-in).
FACTORS = [
    (Residual, {"stem": 3, "inner": 2}, {
        "stem.weight": 1.0,  # three colours, 3x3, as before
        "inner.weight": ((6 * 9) / (3 * 9)) ** 0.5,
        "outer.weight": ((5 * 9) / (2 * 9)) ** 0.5,
        "head.weight": (6 / 3) ** 0.5,
        "stem.bias": 1.0, "outer.bias": 1.0, "head.bias": 1.0, "stem_bn.weight": 1.0, "inner_bn.bias": 1.0,
    }),
    (Flatten, {"conv": 4, "hidden": 3}, {
        "conv.weight": 1.0,
        "hidden.weight": ((6 * 4) / (4 * 4)) ** 0.5,
        "head.weight": (7 / 3) ** 0.5,
        "hidden.bias": 1.0,
    }),
    (Depthwise, {"expand": 2}, {
        "expand.weight": 1.0,
        "filter.weight": 1.0,  # each filter sees one channel, as before
        "head.weight": (8 / 2) ** 0.5,
    }),
    (Transposed, {"enter": 1, "down": 2, "up": 3}, {
        "enter.weight": 1.0,
        "down.weight": ((4 * 9) / (1 * 9)) ** 0.5,
        "up.weight": ((6 * 4) / (2 * 4)) ** 0.5,
        "head.weight": ((4 + 5) / (1 + 3)) ** 0.5,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "kept", "factors"), FACTORS, ids=[case[0].__name__ for case in FACTORS])
def test_rescaled_weights_by_hand(kind, kept, factors):
    dense, slim = slimmed(kind, kept)
    found = dict(initialise(slim, dense, "rescale").named_parameters())
    former = dict(slim.named_parameters())
    for name, factor in factors.items():
        torch.testing.assert_close(found[name], factor * former[name], msg=name)


def test_rescaling_gives_outputs_their_variance_back():
    """Inputs of variance 1, 400 of them, then 100: each output sums a quarter of the terms, each twice as large."""
    dense = nn.Sequential(nn.Linear(3, 400), nn.Linear(400, 200))
    inputs = torch.randn(500, 100, generator=torch.Generator().manual_seed(0))
    groups = find_groups(dense, torch.zeros(1, 3))
    slim = keep_channels(dense, groups, {"0": torch.arange(0, 400, 4)})
    wide = dense[1](torch.randn(500, 400, generator=torch.Generator().manual_seed(1))).var()
    kept, rescaled = (initialise(slim, dense, how)[1](inputs).var() for how in ("keep", "rescale"))
    assert kept.item() == pytest.approx(wide.item() / 4, rel=0.1)
    assert rescaled.item() == pytest.approx(wide.item(), rel=0.1)


@pytest.mark.parametrize("kind", TOYS)
def test_kept_weights_are_those_of_the_slim_network(kind):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    plan = allocate(None, groups, Budget(0.5), CostModel.of(model, groups, EXAMPLE), rule="uniform")
    slim = keep_channels(model, groups, plan.kept)
    assert_same(initialise(slim, model, "keep"), state(slim))


def test_drawn_weights_are_of_the_dense_network_s_values_times_the_factor():
    dense, slim = slimmed(Residual, {"stem": 3, "inner": 2})
    found, former = initialise(slim, dense, "reinit"), dict(dense.named_parameters())
    for name, values in found.named_parameters():
        factor = {"inner.weight": 2**0.5, "outer.weight": 2.5**0.5, "head.weight": 2**0.5}.get(name, 1.0)
        assert values.shape == dict(slim.named_parameters())[name].shape
        assert torch.isin(values, former[name] * factor).all(), name
    assert not torch.isin(found.inner.weight, slim.inner.weight * 2**0.5).all()


def test_constants_stay_constants():
    dense, slim = slimmed(Residual, {"stem": 3, "inner": 2})
    found = initialise(slim, dense, "reinit")
    assert (found.stem_bn.weight == 1).all()
    assert (found.stem_bn.bias == 0).all()


def test_drawn_weights_have_the_dense_ones_mean_and_deviation_times_the_factor():
    dense = nn.Sequential(nn.Linear(3, 400), nn.Linear(400, 300))
    with torch.no_grad():
        dense[1].weight.normal_(0.5, 0.2, generator=torch.Generator().manual_seed(0))
    slim = keep_channels(dense, find_groups(dense, torch.zeros(1, 3)), {"0": torch.arange(100)})
    weight = initialise(slim, dense, "reinit", seed=3)[1].weight
    # 30,000 values: the mean is good to 0.4 / sqrt(30000) = 0.0023.
    assert weight.mean().item() == pytest.approx(2 * dense[1].weight.mean().item(), abs=4 * 0.0023)
    assert weight.std().item() == pytest.approx(2 * dense[1].weight.std().item(), rel=0.02)


def test_draws_follow_the_seed_alone():
    dense, slim = slimmed(Residual, {"stem": 3})
    torch.manual_seed(5)
    generator = torch.get_rng_state()
    first = state(initialise(slim, dense, "reinit", seed=1))
    assert torch.equal(torch.get_rng_state(), generator)
    torch.rand(3)
    assert_same(initialise(slim, dense, "reinit", seed=1), first)
    assert not torch.equal(initialise(slim, dense, "reinit", seed=2).inner.weight, first["inner.weight"])


@pytest.mark.parametrize("how", INITIALIZERS)
def test_both_networks_are_left_untouched_and_share_nothing_with_the_result(how):
    dense, slim = slimmed(Residual, {"stem": 3, "inner": 2})
    before = state(dense), state(slim)
    found = initialise(slim, dense, how)
    with torch.no_grad():
        for tensor in (*found.parameters(), *found.buffers()):
            tensor.fill_(7)
    assert_same(dense, before[0])
    assert_same(slim, before[1])


@pytest.mark.parametrize("how", INITIALIZERS)
def test_frozen_weights_and_buffers_stay(how):
    dense = toy(Residual)
    dense.inner.requires_grad_(False)
    groups = find_groups(dense, EXAMPLE)
    dense.inner_bn.running_mean.fill_(3.0)
    slim = keep_channels(dense, groups, {"stem": torch.arange(3)})
    found = initialise(slim, dense, how)
    assert torch.equal(found.inner.weight, slim.inner.weight)
    assert not found.inner.weight.requires_grad
    assert found.outer.weight.requires_grad
    assert (found.inner_bn.running_mean == 3).all()


class Tied(nn.Module):
    """The same weight under two names, between two halves of the network."""

    def __init__(self):
        super().__init__()
        self.enter, self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.second(self.first(self.enter(x)).relu()).relu())


@pytest.mark.parametrize("how", INITIALIZERS)
def test_tied_weights_stay_tied(how):
    dense = toy(Tied)
    found = initialise(dense, dense, how)
    assert found.first.weight is found.second.weight
    assert found.first.weight is not dense.first.weight


def test_unknown_treatments_are_refused():
    dense, slim = slimmed(Residual, {"stem": 3})
    rule = r"expected a treatment of the initial weights .keep, rescale, reinit., got 'random'"
    with pytest.raises(UsageError, match=rule):
        initialise(slim, dense, "random")
