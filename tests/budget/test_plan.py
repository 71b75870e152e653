import json

import pytest
import torch

from slimprune.budget import Budget, Plan, allocate
from slimprune.errors import UsageError
from tests.networks import named


@pytest.mark.parametrize("ratio", [0, 1, 1.3, -0.1, float("nan"), float("inf")])
def test_ratios_outside_the_open_interval_are_refused(ratio):
    with pytest.raises(UsageError, match=rf"expected ratio in \(0, 1\), got {ratio}"):
        Budget(ratio)


def test_unknown_quantities_are_refused():
    with pytest.raises(UsageError, match=r"expected a quantity .params, macs, channels., got 'watts'"):
        Budget(0.5, "watts")


def test_a_plan_survives_json():
    _, _, groups, costs = named("resnet20")
    plan = allocate(None, groups, Budget(0.5, "macs"), costs, rule="uniform")
    text = plan.to_json()
    restored = Plan.from_json(text)
    assert restored.to_json() == text
    assert json.loads(text)["budget"] == {"ratio": 0.5, "of": "macs"}
    assert restored.budget == plan.budget
    assert (restored.dense, restored.slim) == (plan.dense, plan.slim)
    assert all(torch.equal(restored.kept[group], plan.kept[group]) for group in plan.kept)


def test_what_was_achieved_is_the_removed_share():
    _, _, groups, costs = named("resnet20")
    plan = allocate(None, groups, Budget(0.5, "macs"), costs, rule="uniform")
    assert plan.achieved == 1 - plan.slim.macs / plan.dense.macs
