"""Widths of equal score per cost: what a step does, and that the budget holds."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import slimprune
from slimprune.budget import WidthSpace
from slimprune.errors import UsageError
from slimprune.pipeline import prospect
from slimprune.pipeline.learned import space_of
from slimprune.pipeline.plan import choose_plan
from slimprune.pipeline.prospect import prospect_widths
from slimprune.pipeline.stages import Analysis, Start, analyse, check_names, needs_scores
from slimprune.pipeline.workload import Given, own_workload
from slimprune.recipe import Recipe, make_recipe
from slimprune.types import ignore
from tests.networks import Residual, toy
from tests.pipeline.test_search import loader


def recipe(**settings: Any) -> Recipe:
    wanted = {"ratio": 0.4, "of": "macs", "rule": "prospect", "criterion": "prospr", "epochs": 1, "draws": 1}
    return make_recipe({**wanted, **settings}).with_defaults()


@pytest.fixture
def analysis() -> Analysis:
    work = own_workload(toy(Residual).float(), Given(loader(), loader(1)), "cpu", 0)
    return analyse(recipe(), work, ignore)


def test_a_step_goes_towards_more_score_per_cost_and_is_damped() -> None:
    """The middle one has the median; e^0.4 times as much gives 0.25 * 0.4, a thousandth is cut at -0.2."""
    change = prospect._step(np.array([1.0, np.exp(0.4), 0.001]))
    assert change == pytest.approx([0.0, 0.1, -0.2])


def test_a_percent_of_a_group_costs_what_its_removal_saves(analysis: Analysis) -> None:
    """One channel less of each group, by the cost model, times the number of its channels."""
    space: WidthSpace = space_of(recipe(), analysis)
    widths = space.uniform
    expected = []
    for number in space.free:
        fewer = widths - np.eye(len(widths), dtype=np.int64)[number]
        expected.append(widths[number] * (space.costs.cost(widths).macs - space.costs.cost(fewer).macs))
    assert prospect._prices(space, widths).tolist() == expected


@pytest.mark.parametrize("settings", [{}, {"of": "params"}, {"and": {"params": 0.45}}])
def test_the_widths_are_within_the_budget_and_follow_from_the_seed(
    analysis: Analysis, settings: dict[str, Any]
) -> None:
    wanted = recipe(**settings)
    start = Start(analysis.work.model, analysis.work.model)
    one, again = (choose_plan(wanted, analysis, start, ignore) for _ in range(2))
    assert one.plan.to_json() == again.plan.to_json()
    assert one.plan.budget.allows(one.plan.slim, one.plan.dense)
    assert one.plan.rule.startswith("factors:")


def test_only_narrowed_networks_are_scored(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network's channels are alike: the dense network is not scored, and the first ones stay."""
    scored = []

    def spy(wanted: Any, narrowed: Analysis, network: Any, listener: Any) -> Any:
        scored.append([group.width for group in narrowed.groups])
        return score(wanted, narrowed, network, listener)

    score = prospect.score_channels
    monkeypatch.setattr(prospect, "score_channels", spy)
    start = Start(analysis.work.model, analysis.work.model)

    def refused(*_: Any) -> Any:
        raise AssertionError("the dense network is scored")

    found = choose_plan(recipe(), analysis, start, ignore, scorer=refused)
    assert len(scored) == prospect.STEPS
    assert all(sum(widths) < sum(group.width for group in analysis.groups) for widths in scored)
    assert all(kept.tolist() == list(range(len(kept))) for kept in found.plan.kept.values())
    assert found.saliency is not None
    assert (found.saliency.criterion, found.saliency.stability) == ("prospr", None)


def test_more_score_in_a_group_makes_it_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    layers += [nn.Flatten(), nn.Linear(24, 4)]
    analysis = analyse(recipe(), own_workload(nn.Sequential(*layers), Given(loader(), loader(1)), "cpu", 0), ignore)
    free = [group.id for group in analysis.groups if group.protected_reason is None]

    def fake(favourite: str) -> Any:
        def scored(wanted: Any, narrowed: Analysis, network: Any, listener: Any) -> Any:
            values = {
                group.id: torch.full((group.width,), 9.0 if group.id == favourite else 1.0) for group in narrowed.groups
            }
            return slimprune.Scores(values, "fake", 1, None), prospect.Saliency("fake", 0, 1, None, 0.0, 0)

        return scored

    widths = {}
    for favourite in free:
        monkeypatch.setattr(prospect, "score_channels", fake(favourite))
        rule, _ = prospect_widths(recipe(ratio=0.5), analysis, analysis.work.model, ignore)
        widths[favourite] = [float(factor) for factor in rule.removeprefix("factors:").split(",")]
    for number, favourite in enumerate(free):
        others = [found[number] for name, found in widths.items() if name != favourite]
        assert widths[favourite][number] > max(others)


def test_it_needs_scores_and_is_known() -> None:
    check_names(recipe())
    assert needs_scores(recipe())


def test_it_cannot_be_asked_of_one_call() -> None:
    with pytest.raises(UsageError, match="got prospect"):
        slimprune.prune(toy(Residual).float(), torch.zeros(1, 3, 8, 8), ratio=0.5, rule="prospect")
