import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups, free_groups
from slimprune.saliency import Problem
from slimprune.saliency.criteria.bn_scale import BatchNormScale
from tests.networks import EXAMPLE, Concat, Depthwise, Residual, toy


def scores(model):
    example = EXAMPLE.to(next(model.parameters()).dtype)
    groups = free_groups(find_groups(model, example))
    return BatchNormScale().score(Problem.prepare(model, groups, F.mse_loss, "consumer", torch.float64))


def with_factors(model):
    torch.manual_seed(3)
    model.double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


def test_mean_size_of_the_factors_of_a_groups_norms():
    model = with_factors(toy(Residual))
    found = scores(model)
    stem = (model.stem_bn.weight.abs() + model.outer_bn.weight.abs()) / 2
    assert torch.allclose(found["stem"], stem, rtol=1e-8)
    assert torch.allclose(found["inner"], model.inner_bn.weight.abs(), rtol=1e-8)


def test_norms_before_and_after_a_depthwise_filter_both_count():
    model = with_factors(toy(Depthwise))
    (found,) = scores(model).values()
    assert torch.allclose(found, ((model.expand_bn.weight.abs() + model.filter_bn.weight.abs()) / 2))


def test_a_norm_behind_a_flatten_has_several_factors_per_channel():
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(20), nn.Linear(20, 4)
    )
    found = scores(with_factors(model))["0"]
    assert torch.allclose(found, model[3].weight.abs().view(5, 4).mean(1), rtol=1e-8)


def test_a_group_without_a_norm_is_named():
    with pytest.raises(
        UnsupportedModelError, match="expected a norm with affine weights on every group, got none on l"
    ):
        scores(toy(Concat))


def test_factors_of_an_untrained_network_say_nothing():
    with pytest.raises(UnsupportedModelError, match="got 1 for every channel: train first"):
        scores(toy(Residual))
