"""The steps between a workload and a trained slim network, one by one."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimprune.errors import BudgetError, UnsupportedModelError, UsageError
from slimprune.pipeline import stages as steps
from slimprune.pipeline.stages import Analysis, analyse, starting_networks
from slimprune.pipeline.workload import Workload, named_workload
from slimprune.recipe import Recipe, make_recipe
from slimprune.training import TrainSettings, train
from slimprune.types import ignore

Event = tuple[str, int, int, str]
EPOCH = 5
"""Steps of an epoch: 40 images in batches of 8."""


@pytest.fixture
def recipe(settings: dict[str, Any]) -> Callable[..., Recipe]:
    """The tiny recipe with changes, defaults filled in."""
    return lambda **changes: make_recipe({**settings, **changes}).with_defaults()


@pytest.fixture(scope="module")
def analysis(settings: dict[str, Any]) -> Analysis:
    tiny = make_recipe(settings).with_defaults()
    return analyse(tiny, named_workload(tiny, "cpu"), ignore)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(model: nn.Module, expected: dict[str, Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def dense_states(recipe: Recipe, work: Workload, epochs: int) -> list[dict[str, Tensor]]:
    """States of the dense network after 0, 1, 2, ... training steps, by a training of its own."""
    model = copy.deepcopy(work.model)
    found = [state(model)]
    train(
        model,
        work.train_batches,
        work.test_batches,
        TrainSettings(
            epochs, lr=recipe.lr or 0.0, weight_decay=recipe.weight_decay, schedule=recipe.schedule or "step"
        ),
        loss=work.loss,
        metric=work.metric,
        after_step=lambda done: found.append(state(model)),
    )
    return found


# Names and budgets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "fair"}, "expected a rule (global, "),
        ({"rule": "profile:score=9,reuse=0"}, "expected score of a profile in [0, 4], got 9"),
        ({"criterion": "snap"}, "expected a criterion ("),
        ({"criterion": "random", "rounds": 3}, "criterion random has no option 'rounds'"),
        ({"of": "macs", "also": {"macs": 0.5}}, "expected each quantity once in a budget, got macs twice"),
    ],
)
def test_names_and_budgets_that_there_cannot_be(
    recipe: Callable[..., Recipe], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        steps.check_names(recipe(**changes))
    assert message in str(caught.value)


def test_the_budget_of_a_recipe(recipe: Callable[..., Recipe]) -> None:
    budget = steps.budget_of(recipe(ratio=0.4, of="macs", also={"params": 0.6, "channels": 0.2}))
    assert budget.ratios == {"macs": 0.4, "params": 0.6, "channels": 0.2}


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"rule": "global"}, True),
        ({"rule": "erk"}, False),
        ({"rule": "profile:score=0,reuse=1"}, False),
        ({"rule": "profile:score=1,reuse=0"}, True),
        ({"rule": "uniform", "twin": "shuffle"}, False),
        ({"rule": "uniform", "twin": "invert"}, True),
    ],
)
def test_scores_are_needed_by_rules_and_by_the_inverted_twin(
    recipe: Callable[..., Recipe], changes: dict[str, Any], needed: bool
) -> None:
    assert steps.needs_scores(recipe(**changes)) is needed


def test_every_limit_is_checked_before_scoring(recipe: Callable[..., Recipe], analysis: Analysis) -> None:
    steps.check_budget(recipe(also={"macs": 0.8}), analysis)
    for changes in ({"ratio": 0.999}, {"also": {"macs": 0.999}}, {"also": {"macs": 0.999}, "twin": "invert"}):
        with pytest.raises(BudgetError, match=r"cannot remove 0\.999 of (params|macs): the floor"):
            steps.check_budget(recipe(**changes), analysis)


def uncountable(model: nn.Module, example: Tensor) -> int:
    raise UnsupportedModelError("expected a model that fvcore can trace")


@pytest.mark.parametrize(
    ("count", "note"),
    [
        (lambda model, example: 7, "the dense network takes 129,056 MACs, fvcore counts 7"),
        (lambda model, example: 129_056, None),
        (uncountable, "no second count of MACs: expected a model that fvcore can trace"),
    ],
)
def test_a_second_count_of_macs_is_heard_by_who_limits_them(
    recipe: Callable[..., Recipe], analysis: Analysis, monkeypatch: pytest.MonkeyPatch, count: Any, note: str | None
) -> None:
    monkeypatch.setattr(steps, "count_macs_fvcore", count)
    assert analysis.costs.dense.macs == 16 * 16 * 27 * 8 + 8 * 8 * 9 * 8 * 16 + 16 * 2
    heard: list[str] = []
    for changes in ({}, {"of": "macs"}, {"also": {"macs": 0.5}}):
        steps.check_budget(recipe(**changes), replace(analysis), lambda *event: heard.append(event[-1]))
    assert heard == ([note] * 2 if note else [])


# What is scored and inherited ----------------------------------------------------------------------------------------


def test_before_training_all_is_the_initial_network(
    recipe: Callable[..., Recipe], analysis: Analysis, tmp_path: Path
) -> None:
    start = starting_networks(recipe(), analysis.work, tmp_path / "train dense", ignore)
    assert start.scored is start.inherited is analysis.work.model
    assert start.dense_training is None
    assert list(tmp_path.iterdir()) == []


def test_after_training_it_is_the_trained_network(
    recipe: Callable[..., Recipe], analysis: Analysis, tmp_path: Path
) -> None:
    wanted, initial = recipe(when="after-training", epochs=3, dense_epochs=2), state(analysis.work.model)
    events: list[Event] = []
    start = starting_networks(wanted, analysis.work, tmp_path / "train dense", lambda *event: events.append(event))
    expected = dense_states(wanted, analysis.work, 2)
    assert start.scored is start.inherited
    assert_same(start.scored, expected[2 * EPOCH])
    assert_same(analysis.work.model, initial)
    assert start.dense_training is not None
    assert start.dense_training.epochs == 2
    assert [done for stage, done, _, _ in events if stage == "train dense"] == list(range(1, 2 * EPOCH + 1))


@pytest.mark.parametrize("back_to", [0, 1, 4, EPOCH, EPOCH + 2, 2 * EPOCH])
def test_rewinding_inherits_the_network_after_that_many_steps(
    recipe: Callable[..., Recipe], analysis: Analysis, tmp_path: Path, back_to: int
) -> None:
    wanted = recipe(when="rewind", rewind_step=back_to, epochs=2)
    start = starting_networks(wanted, analysis.work, tmp_path / "train dense", ignore)
    expected = dense_states(wanted, analysis.work, 2)
    assert_same(start.inherited, expected[back_to])
    assert_same(start.scored, expected[2 * EPOCH])
    assert_same(analysis.work.model, expected[0])


def test_rewinding_goes_back_to_two_per_cent_of_the_steps(
    recipe: Callable[..., Recipe], analysis: Analysis, tmp_path: Path
) -> None:
    wanted = recipe(when="rewind", epochs=1, dense_epochs=20)
    start = starting_networks(wanted, analysis.work, tmp_path / "train dense", ignore)
    assert 0.02 * 20 * EPOCH == 2
    assert_same(start.inherited, dense_states(wanted, analysis.work, 20)[2])


def test_rewinding_beyond_the_training_is_refused_before_it(
    recipe: Callable[..., Recipe], analysis: Analysis, tmp_path: Path
) -> None:
    events: list[Event] = []
    wanted = recipe(when="rewind", rewind_step=11, epochs=2)
    with pytest.raises(UsageError, match="expected rewind_step within the 10 steps of the dense training, got 11"):
        starting_networks(wanted, analysis.work, tmp_path / "train dense", lambda *event: events.append(event))
    assert events == []
    assert list(tmp_path.iterdir()) == []


def stop_in(epoch: int) -> Callable[..., None]:
    def listener(stage: str, done: int, total: int, note: str) -> None:
        if note.startswith(f"epoch {epoch}"):
            raise KeyboardInterrupt

    return listener


@pytest.mark.parametrize(
    "changes", [{"when": "after-training"}, *({"when": "rewind", "rewind_step": k} for k in (2, 6, 13))]
)
def test_a_stopped_dense_training_goes_on_to_the_same_networks(
    recipe: Callable[..., Recipe], analysis: Analysis, tmp_path: Path, changes: dict[str, Any]
) -> None:
    wanted = recipe(epochs=3, **changes)
    straight = starting_networks(wanted, analysis.work, tmp_path / "straight", ignore)
    # In the midst of one epoch, then of the next.
    for epoch in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            starting_networks(wanted, analysis.work, tmp_path / "stopped", stop_in(epoch))
    for _ in range(2):
        resumed = starting_networks(wanted, analysis.work, tmp_path / "stopped", ignore)
        assert_same(resumed.scored, state(straight.scored))
        assert_same(resumed.inherited, state(straight.inherited))
        assert resumed.dense_training is not None
        assert straight.dense_training is not None
        assert resumed.dense_training.final == straight.dense_training.final


# Scores, plan, slim network ------------------------------------------------------------------------------------------


def test_criteria_in_rounds_head_for_the_budget_of_the_recipe(
    recipe: Callable[..., Recipe], analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(criterion="iter-snip", rounds=3, also={"macs": 0.8})
    goals = []
    score = steps.score
    monkeypatch.setattr(steps, "score", lambda *args, **given: goals.append(given["target"]) or score(*args, **given))
    scores, saliency = steps.score_channels(wanted, analysis, analysis.work.model, ignore)
    (goal,) = goals
    assert goal.density == 0.5
    kept = goal.narrow(scores.by_group, 0.5)
    plan = steps.allocate_for(wanted, analysis, scores)
    assert {group: stays.nonzero().flatten().tolist() for group, stays in kept.items()} == {
        group: plan.kept[group].tolist() for group in kept
    }
    assert saliency.criterion == "iter-snip"


def test_other_weights_give_other_scores(recipe: Callable[..., Recipe], analysis: Analysis) -> None:
    moved = copy.deepcopy(analysis.work.model)
    with torch.no_grad():
        moved.get_parameter("0.weight").add_(torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0)))
    first, again, other = (
        steps.score_channels(recipe(), analysis, network, ignore)[0].by_group["0"]
        for network in (analysis.work.model, analysis.work.model, moved)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_twins_are_allocated_like_the_plan(recipe: Callable[..., Recipe], analysis: Analysis) -> None:
    scores, _ = steps.score_channels(recipe(), analysis, analysis.work.model, ignore)
    plan, shuffled, inverted = (
        steps.allocate_for(recipe(twin=twin), analysis, scores) for twin in (None, "shuffle", "invert")
    )
    assert plan.widths == shuffled.widths == inverted.widths
    for group, values in scores.by_group.items():
        best, worst = (values[found.kept[group]].sum() for found in (plan, inverted))
        assert worst <= values[shuffled.kept[group]].sum() <= best


def test_a_slim_network_inherits_from_the_given_one(recipe: Callable[..., Recipe], analysis: Analysis) -> None:
    other = copy.deepcopy(analysis.work.model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    plan = steps.allocate_for(recipe(rule="uniform"), analysis, None)
    slimmed = steps.slim_and_prove(analysis, other, plan)
    assert slimmed.proof is not None
    assert slimmed.proof.passed
    weight = slimmed.module.get_parameter("0.weight")
    assert torch.equal(weight, other.get_parameter("0.weight")[plan.kept["0"]])


def test_initial_weights_are_kept_unless_asked_for(recipe: Callable[..., Recipe], analysis: Analysis) -> None:
    work = analysis.work
    slimmed = steps.slim_and_prove(analysis, work.model, steps.allocate_for(recipe(rule="uniform"), analysis, None))
    assert steps.initialise_slim(recipe(), work.model, slimmed) is slimmed
    former = slimmed.module.get_parameter("8.weight")
    rescaled, first, second, other = (
        steps.initialise_slim(recipe(init=init, seed=seed), work.model, slimmed).module.get_parameter("8.weight")
        for init, seed in (("rescale", 0), ("reinit", 0), ("reinit", 0), ("reinit", 1))
    )
    torch.testing.assert_close(rescaled, former * (16 / slimmed.plan.widths["3"]) ** 0.5)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not torch.equal(first, rescaled)


def test_the_dense_network_may_be_trained_for_longer(recipe: Callable[..., Recipe], analysis: Analysis) -> None:
    for changes, epochs in (({"epochs": 3}, 3), ({"epochs": 3, "dense_epochs": 7}, 7)):
        assert steps.dense_settings(recipe(**changes), analysis.work).epochs == epochs
        assert steps.training_settings(recipe(**changes), analysis.work).epochs == 3


@pytest.mark.parametrize("fast", [None, True, False])
def test_the_recipe_chooses_the_way_to_train(
    recipe: Callable[..., Recipe], analysis: Analysis, fast: bool | None
) -> None:
    assert steps.training_settings(recipe(fast=fast), analysis.work).fast is fast


def test_training_is_heard_under_the_name_of_its_folder(
    recipe: Callable[..., Recipe], analysis: Analysis, tmp_path: Path
) -> None:
    work, heard = analysis.work, []
    settings = steps.training_settings(recipe(epochs=2), work)
    module, store = copy.deepcopy(work.model), tmp_path / "train again"
    steps.run_training(settings, work, module, store, lambda *event: heard.append(event[:3]))
    assert heard == [
        (
            "train again",
            done,
            2 * EPOCH,
        )
        for done in range(1, 2 * EPOCH + 1)
    ]


def test_a_network_whose_channels_are_all_protected_is_refused(recipe: Callable[..., Recipe]) -> None:
    wanted = recipe(protect="*")
    with pytest.raises(BudgetError, match="expected channels that may be removed, got none"):
        analyse(wanted, named_workload(wanted, "cpu"), ignore)
