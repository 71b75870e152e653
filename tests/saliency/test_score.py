import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError
from slimprune.graph import find_groups
from slimprune.saliency import channel_target, criteria, make_criterion, score
from slimprune.saliency.criteria.prospr import ProsPr
from tests.networks import EXAMPLE, Residual, toy

NAMES = [entry.name for entry in criteria()]
DETERMINISTIC = [entry.name for entry in criteria() if entry.make().deterministic]
NARROWING = [entry.name for entry in criteria() if "rounds" in entry.options]


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 3, 8, 8, generator=generator), torch.randint(0, 4, (8,), generator=generator))
        for _ in range(count)
    ]


def scored(model=None, count=16, seed_of_batches=1, **options):
    model = toy(Residual) if model is None else model
    given = batches(count, seed_of_batches)
    return score(model, find_groups(model, EXAMPLE), given, F.cross_entropy, **options)


def every(name, model=None, draws=1, **options):
    """Scores of any criterion: the factors of the norms differ, there is a target, and there are batches enough."""
    model = with_factors() if model is None else model
    count = draws * make_criterion(name).batches_per_draw
    return scored(model, count, criterion=name, draws=draws, target=channel_target(0.5), **options)


def with_factors():
    """Norms as after training: all sizes, and shifts below 0, so that maps are sparse behind the activation.

    Other biases are left out, since `tp:obdc` cannot take them.
    """
    model, generator = toy(Residual), torch.Generator().manual_seed(9)
    model.stem.bias = model.outer.bias = model.head.bias = None
    for name, tensor in model.state_dict().items():
        if "_bn" in name and tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            if name.endswith("bias"):
                tensor.sub_(1.5)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_every_criterion_keeps_the_contract(name):
    model, draws = with_factors(), 1 if name in DETERMINISTIC else 2
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    first, second = (every(name, model, draws=2) for _ in range(2))
    assert {group: len(values) for group, values in first.by_group.items()} == {"stem": 6, "inner": 5}
    assert all((values >= 0).all() and values.dtype == torch.float64 for values in first.by_group.values())
    assert float(sum(values.sum() for values in first.by_group.values())) == pytest.approx(1)
    assert all(torch.equal(first.by_group[group], second.by_group[group]) for group in first.by_group)
    assert first.stability is None if draws == 1 else -1 <= first.stability <= 1
    assert (first.criterion, first.draws) == (name, draws)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


@pytest.mark.parametrize("name", NAMES)
def test_no_criterion_depends_on_running_statistics(name):
    """An untrained network has none that mean anything, and a trained one has those of the dense network."""
    model, other = with_factors(), with_factors()
    for key, tensor in other.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            tensor.copy_(7 * torch.rand_like(tensor) + 0.1)
    one, two = every(name, model), every(name, other)
    assert all(torch.equal(one.by_group[group], two.by_group[group]) for group in one.by_group)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_draws_that_cannot_differ_are_made_once(name):
    told = []
    one = every(name, draws=5, progress=lambda *event: told.append(event))
    two = every(name, seed=3, seed_of_batches=8)
    assert (one.draws, one.stability, told) == (1, None, [("score", 0, 1, name), ("score", 1, 1, name)])
    assert all(torch.equal(one.by_group[group], two.by_group[group]) for group in one.by_group)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(DETERMINISTIC)))
def test_other_draws_do_differ(name):
    one, two = every(name), every(name, seed=3, seed_of_batches=8)
    assert any(not torch.equal(one.by_group[group], two.by_group[group]) for group in one.by_group)


@pytest.mark.parametrize("name", NARROWING)
def test_a_criterion_that_narrows_needs_a_target(name):
    with pytest.raises(UsageError, match=f"criterion {name} narrows towards a budget: pass target="):
        scored(criterion=name, draws=1, count=100)


def test_which_criteria_narrow():
    assert {"force", "iter-snip", "synflow"} <= set(NARROWING)


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


def test_an_iterator_is_read_draw_by_draw():
    given, largest = [], []

    def made():
        for batch in batches(12):
            given.append(weakref.ref(inputs := batch[0].clone()))
            largest.append(sum(reference() is not None for reference in given))
            yield inputs, batch[1]
            del inputs

    model = toy(Residual)
    score(model, find_groups(model, EXAMPLE), made(), F.cross_entropy, criterion=ProsPr(steps=3), draws=3)
    # the 4 batches of a draw, and while they are read those of the draw before
    assert (len(given), max(largest)) == (12, 8)


def test_an_iterator_that_ends_early_is_refused():
    model = toy(Residual)
    with pytest.raises(DataError, match="expected 4 batches to score with, got 3"):
        score(model, find_groups(model, EXAMPLE), iter(batches(3)), F.cross_entropy, draws=2)


def test_draws_take_batches_of_their_own():
    one = scored(draws=1).by_group["stem"]
    two = scored(draws=2).by_group["stem"]
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"criterion": "snap"}, UsageError, "expected a criterion .*3sp.* got 'snap'"),
        ({"criterion": "force", "gate": "norm"}, UsageError, r"expected a gate for force \(consumer\), got 'norm'"),
        ({"gate": "middle"}, UsageError, r"expected a gate for prospr \(consumer, norm, producer\), got 'middle'"),
        ({"draws": 0}, UsageError, "expected draws >= 1, got 0"),
        ({"count": 3, "draws": 2}, DataError, "expected 4 batches to score with, got 3"),
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


def test_neighbouring_seeds_share_no_draws():
    """Otherwise three of four draws were the same, and seeds would say little about spread."""
    mean, first = every("random", draws=2, seed=0).by_group, every("random", draws=1, seed=0).by_group
    neighbour = every("random", draws=1, seed=1).by_group
    for group in mean:
        assert not torch.allclose(2 * mean[group] - first[group], neighbour[group])


@pytest.mark.parametrize("name", NAMES)
def test_batches_of_any_kind_are_scored_with_a_forward_fn(name):
    """Every criterion sees what it sees in pairs."""
    model = with_factors()
    groups = find_groups(model, EXAMPLE)
    pairs = batches(make_criterion(name).batches_per_draw or 1)
    named = [{"image": x, "label": y} for x, y in pairs]
    given = {"criterion": name, "draws": 1, "target": channel_target(0.5)}
    plain = score(model, groups, pairs, F.cross_entropy, **given)
    other = score(
        model,
        groups,
        named,
        lambda output, batch: F.cross_entropy(output, batch["label"]),
        forward_fn=lambda network, batch: network(batch["image"]),
        **given,
    )
    assert all(torch.allclose(plain.by_group[group], other.by_group[group]) for group in plain.by_group)


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
