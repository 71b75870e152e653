"""The choice of the weights that stay, with the arithmetic written out."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from slimprune.errors import BudgetError, UsageError
from slimprune.masks import MASK_RULES, PrunableWeight, choose_masks, find_weights, weight_target
from slimprune.masks.choice import best
from slimprune.saliency import Scores

LAYERS = (
    PrunableWeight("a.weight", (2, 5), 100),  # 10 weights
    PrunableWeight("b.weight", (10, 2, 2, 2), 800),  # 80
    PrunableWeight("c.weight", (2, 5), 10),  # 10
)


def scores(**values):
    given = {f"{name}.weight": torch.as_tensor(found, dtype=torch.float64) for name, found in values.items()}
    return Scores(given, "test", 1, None)


FALLING = scores(a=torch.arange(10.0, 0, -1), b=torch.arange(80) / 80, c=torch.full((10,), 5.0))


def kept(masks):
    return {name.removesuffix(".weight"): int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize(
    ("rule", "ratio", "expected"),
    [
        # 10 stay: 10, 9, 8, 7, 6 and 5 of a, then the first four of the fives of c.
        ("global", 0.9, {"a": 6, "b": 0, "c": 4}),
        ("global", 0.99, {"a": 1, "b": 0, "c": 0}),
        ("layer-wise", 0.9, {"a": 1, "b": 8, "c": 1}),
        ("layer-wise", 0.97, {"a": 1, "b": 2, "c": 1}),  # 0.3, 2.4 and 0.3 weights, at least one
        # Sums of dimensions 7, 16 and 7, together 30: 15 / 30 of them are 3.5, 8 and 3.5 (to even: 4).
        ("erk", 0.85, {"a": 4, "b": 8, "c": 4}),
        # 60 / 30 * 7 = 14 > 10: a and c keep all 10, b the other 40.
        ("erk", 0.4, {"a": 10, "b": 40, "c": 10}),
    ],
)
def test_how_many_weights_of_each_layer_stay(rule, ratio, expected):
    masks = choose_masks(FALLING, LAYERS, ratio, rule=rule)
    assert kept(masks) == expected
    assert {name: mask.shape for name, mask in masks.items()} == {layer.name: layer.shape for layer in LAYERS}


def test_those_with_the_highest_scores_stay():
    masks = choose_masks(FALLING, LAYERS, 0.9)
    assert masks["a.weight"].flatten().tolist() == [True] * 6 + [False] * 4
    assert masks["c.weight"].flatten().tolist() == [True] * 4 + [False] * 6  # of equal ones the first


@pytest.mark.parametrize("rule", MASK_RULES)
@pytest.mark.parametrize("twin", ["shuffle", "invert"])
def test_twins_have_as_many_weights_in_every_layer(rule, twin):
    original = choose_masks(FALLING, LAYERS, 0.9, rule=rule)
    masks = choose_masks(FALLING, LAYERS, 0.9, rule=rule, twin=twin)
    assert kept(masks) == kept(original)
    assert any(not torch.equal(masks[name], original[name]) for name in masks)


def test_twins():
    inverted = choose_masks(FALLING, LAYERS, 0.9, twin="invert")
    assert inverted["a.weight"].flatten().tolist() == [False] * 4 + [True] * 6
    one, same, other = (choose_masks(FALLING, LAYERS, 0.5, twin="shuffle", seed=seed)["b.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("rule", MASK_RULES)
def test_a_higher_ratio_never_leaves_more(rule):
    found = [kept(choose_masks(FALLING, LAYERS, ratio, rule=rule)) for ratio in (0.1, 0.3, 0.5, 0.8, 0.9, 0.95)]
    for more, less in pairwise(found):
        assert all(less[layer] <= more[layer] for layer in more)


def test_protected_layers_count_and_stay():
    """Of 100 weights 20 stay, 10 of them in c: 10 are left for a and b."""
    layers = (*LAYERS[:2], PrunableWeight("c.weight", (2, 5), 10, "asked for"))
    assert kept(choose_masks(FALLING, layers, 0.8)) == {"a": 10, "b": 0}


@pytest.mark.parametrize(
    ("ratio", "rule", "protected", "message"),
    [
        (0.96, "global", "c", "at most 89 of 100 weights beside the protected layers, got a ratio of 0.96, .* 96"),
        (0.996, "global", "", "at most 99 of 100 weights beside rule global, got a ratio of 0.996, which masks 100"),
        (0.98, "layer-wise", "", "at most 97 of 100 weights beside rule layer-wise, got a ratio of 0.98, .* 98"),
        (0.5, "global", "abc", "at most 0 of 100 weights"),
    ],
)
def test_so_many_weights_cannot_be_masked(ratio, rule, protected, message):
    layers = [
        PrunableWeight(layer.name, layer.shape, layer.macs, "asked for" if layer.layer in protected else None)
        for layer in LAYERS
    ]
    with pytest.raises(BudgetError, match=message):
        choose_masks(FALLING, layers, ratio, rule=rule)


def test_bad_input():
    with pytest.raises(UsageError, match=r"a rule for weights \(global, layer-wise, erk\), got 'uniform'"):
        choose_masks(FALLING, LAYERS, 0.5, rule="uniform")
    with pytest.raises(UsageError, match=r"a twin \(shuffle, invert\), got 'evil'"):
        choose_masks(FALLING, LAYERS, 0.5, twin="evil")
    with pytest.raises(UsageError, match=r"scores of the 80 weights of b.weight, got none"):
        choose_masks(scores(a=torch.ones(10)), LAYERS, 0.5)


def test_best_of_equal_scores():
    assert best(torch.tensor([1.0, 2, 2, 2, 3]), 3).tolist() == [False, True, True, False, True]
    assert best(torch.tensor([0.0, 2, 0, 1, 0]), 3).tolist() == [True, True, False, True, False]
    assert best(torch.tensor([0.0, 2, 0, 1, 0]), 1).tolist() == [False, True, False, False, False]
    assert not best(torch.ones(3), 0).any()
    assert best(torch.ones(3), 3).all()


def test_the_target_takes_the_rule():
    target = weight_target(LAYERS, 0.9, rule="layer-wise")
    stays = target.narrow(FALLING.by_group, 0.5)
    assert (target.density, {name: int(mask.sum()) for name, mask in stays.items()}) == (
        pytest.approx(0.1), {"a.weight": 5, "b.weight": 40, "c.weight": 5}
    )  # fmt: skip


def test_real_scores_of_a_network():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    layers = find_weights(model, torch.zeros(1, 3, 8, 8))
    by_group = {layer.name: torch.rand(layer.count, dtype=torch.float64) for layer in layers}
    masks = choose_masks(Scores(by_group, "random", 1, None), layers, 0.5)
    assert sum(int(mask.sum()) for mask in masks.values()) == (4 * 3 * 9 + 288) / 2


@pytest.mark.parametrize("rule", MASK_RULES)
@pytest.mark.parametrize("twin", [None, "invert"])
def test_a_weight_that_is_masked_stays_masked(rule, twin):
    before = choose_masks(FALLING, LAYERS, 0.5, rule=rule)
    rising = Scores({name: -values + 100 for name, values in FALLING.by_group.items()}, "test", 1, None)
    masks = choose_masks(rising, LAYERS, 0.8, rule=rule, twin=twin, within=before)
    assert kept(masks) == kept(choose_masks(rising, LAYERS, 0.8, rule=rule, within=before))
    assert 19 <= sum(kept(masks).values()) <= 21  # by rules with a threshold in each layer up to rounding
    assert not any((masks[name] & ~before[name]).any() for name in masks)
