"""Scores that are not finite: the message names the layer they come from, and what helps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import SlimpruneError
from slimprune.graph import find_groups
from slimprune.saliency import score
from slimprune.saliency.criteria.prospr import ProsPr


class Deviation(nn.Module):
    """Deviations over positions, which are 0 where all are clipped."""

    def forward(self, x):
        return F.relu(x - 0.9).std((2, 3))


class Pooled(nn.Module):
    def __init__(self, pool, width):
        super().__init__()
        self.stem, self.pool, self.head = nn.Conv2d(3, 8, 3, padding=1), pool, nn.Linear(8 * width, 4)

    def forward(self, x):
        return self.head(self.pool(F.relu(self.stem(x))).flatten(1))


class Volume(nn.Module):
    """A small 3D network that reads deviations of features, some of which are 0 everywhere."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv3d(3, 8, 2), nn.Conv3d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.read(F.relu(self.stem(x))))
        return self.head((x - 0.5).relu().std((2, 3, 4)))


class Logarithm(nn.Module):
    def forward(self, x):
        return F.relu(x).log() if self.training else x


@pytest.fixture(autouse=True)
def seeded():
    """Networks have the same weights in whatever order tests run: some weights make an output constant."""
    torch.manual_seed(0)


def message(model, *shape, criterion="prospr", lr=None):
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3, *shape), torch.randint(0, 4, (4,))) for _ in range(2)]
    groups = find_groups(model, batches[0][0])
    with pytest.raises(SlimpruneError) as caught:
        score(model, groups, batches, F.cross_entropy, criterion=criterion if lr is None else ProsPr(lr=lr), draws=1)
    return str(caught.value)


ADVICE = (
    "at the start and at any --inner-lr; a criterion of first order, such as prospr-first-order or snip, takes none"
)


@pytest.mark.parametrize(("pool", "width"), [(nn.LPPool2d(2, 2), 16), (Deviation(), 1)], ids=["LPPool2d", "Deviation"])
def test_a_layer_without_second_derivatives_is_named(pool, width):
    found = message(Pooled(pool, width), 8, 8)
    expected = f"expected finite scores, got nan or inf: the second derivatives of pool ({type(pool).__name__}) are not"
    assert found == f"{expected}, {ADVICE}"


@pytest.mark.parametrize(("pool", "width"), [(nn.LPPool2d(2, 2), 16), (Deviation(), 1)], ids=["LPPool2d", "Deviation"])
def test_first_order_scores_it(pool, width):
    model, batches = Pooled(pool, width), [(torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,))) for _ in range(2)]
    groups = find_groups(model, batches[0][0])
    assert score(model, groups, batches, F.cross_entropy, criterion="prospr-first-order", draws=1).by_group


def test_what_a_network_computes_outside_of_its_layers_is_the_network_itself():
    found = message(Volume(), 3, 3, 3)
    assert found == f"expected finite scores, got nan or inf: the second derivatives of Volume are not, {ADVICE}"


def test_a_layer_whose_outputs_are_not_finite_is_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), Logarithm(), nn.Flatten(), nn.Linear(8 * 36, 4))
    found = message(model, 8, 8, criterion="snip")
    assert "got nan or inf: the outputs of 1 (Logarithm) are not, at the start" in found
    assert "first order" not in found


def test_a_training_that_diverges_has_another_message():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))
    assert "the inner training diverged (lower --inner-lr)" in message(model, 8, 8, lr=1e30)
