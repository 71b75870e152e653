import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError
from slimprune.graph import find_groups
from slimprune.saliency import criteria, score
from slimprune.saliency.criteria.prospr import ProsPr
from tests.networks import EXAMPLE, Residual, toy

NAMES = [entry.name for entry in criteria()]


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 3, 8, 8, generator=generator), torch.randint(0, 4, (8,), generator=generator))
        for _ in range(count)
    ]


def scored(model=None, count=16, **options):
    model = toy(Residual) if model is None else model
    return score(model, find_groups(model, EXAMPLE), batches(count), F.cross_entropy, **options)


@pytest.mark.parametrize("name", NAMES)
def test_every_criterion_keeps_the_contract(name):
    model = toy(Residual)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    first, second = (scored(model, criterion=name, draws=2) for _ in range(2))
    assert {group: len(values) for group, values in first.by_group.items()} == {"stem": 6, "inner": 5}
    assert all((values >= 0).all() and values.dtype == torch.float64 for values in first.by_group.values())
    assert float(sum(values.sum() for values in first.by_group.values())) == pytest.approx(1)
    assert all(torch.equal(first.by_group[group], second.by_group[group]) for group in first.by_group)
    assert -1 <= first.stability <= 1
    assert (first.criterion, first.draws) == (name, 2)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["prospr", "3sp"])
def test_float64_agrees_with_float32_before_training_makes_it_delicate(name):
    options = {"criterion": ProsPr(steps=1, lr=1e-3)} if name == "prospr" else {"criterion": name}
    coarse, fine = (scored(dtype=dtype, draws=1, **options) for dtype in (torch.float32, torch.float64))
    for group in fine.by_group:
        assert torch.allclose(coarse.by_group[group], fine.by_group[group], rtol=1e-3, atol=1e-5)


def test_a_sequence_is_indexed_and_an_iterator_is_read_once():
    assert torch.equal(
        scored(draws=2).by_group["stem"],
        score(toy(Residual), find_groups(toy(Residual), EXAMPLE), iter(batches(16)), F.cross_entropy, draws=2).by_group[
            "stem"
        ],
    )


def test_draws_take_batches_of_their_own():
    one = scored(draws=1).by_group["stem"]
    two = scored(draws=2).by_group["stem"]
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"criterion": "snap"}, UsageError, "expected a criterion .*3sp.* got 'snap'"),
        ({"gate": "middle"}, UsageError, "expected a gate .consumer, norm, producer., got 'middle'"),
        ({"draws": 0}, UsageError, "expected draws >= 1, got 0"),
        ({"count": 7, "draws": 2}, DataError, "expected 8 batches to score with, got 7"),
        ({"criterion": ProsPr(steps=3, lr=1e30)}, SlimpruneError, "expected finite scores"),
    ],
)
def test_bad_requests_are_one_sentence(options, error, message):
    with pytest.raises(error, match=message):
        scored(**options)


def test_nothing_to_score_names_the_reasons():
    model = toy(Residual)
    groups = find_groups(model, EXAMPLE, protect=["*"])
    with pytest.raises(UnsupportedModelError, match=r"got none \(stem: asked for by --protect \*"):
        score(model, groups, batches(4), F.cross_entropy)


def test_a_loss_that_depends_on_nothing_is_refused():
    model = toy(Residual)
    with pytest.raises(UnsupportedModelError, match="got 0 for every channel"):
        score(model, find_groups(model, EXAMPLE), batches(1), lambda o, _: 0 * o.sum(), criterion="3sp", draws=1)


def test_attention_has_second_derivatives():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.qkv = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 24)
            self.inner, self.outer, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = x + F.scaled_dot_product_attention(*self.qkv(x).chunk(3, -1))
            return self.head((x + self.outer(F.gelu(self.inner(x)))).mean(1))

    model = Attention()
    groups = [group for group in find_groups(model, EXAMPLE) if group.id == "inner"]
    scores = score(model, groups, batches(4), F.cross_entropy, draws=1)
    assert (scores.by_group["inner"] > 0).all()


def test_seeds_may_be_large():
    assert scored(seed=2**63 - 5, draws=2).draws == 2


def test_models_with_several_inputs_are_scored():
    class Sum(Residual):
        def forward(self, x, y):
            return super().forward(x + y)

    torch.manual_seed(0)
    model, one = toy(Sum), toy(Residual)
    pairs = [((0.25 * x, 0.75 * x), target) for x, target in batches(4)]
    groups = find_groups(model, (EXAMPLE, EXAMPLE))
    several = score(model, groups, pairs, F.cross_entropy, draws=1, dtype=torch.float64)
    single = score(one, find_groups(one, EXAMPLE), batches(4), F.cross_entropy, draws=1, dtype=torch.float64)
    assert torch.allclose(several.by_group["stem"], single.by_group["stem"])
