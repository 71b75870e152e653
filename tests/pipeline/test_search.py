"""The search for a width profile: who is tried, for how long, and what decides."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import slimprune
from slimprune.files import read_value
from slimprune.pipeline import search as prospect
from slimprune.pipeline.plan import PlannedPruning, choose_plan, stored_pruning
from slimprune.pipeline.search import CANDIDATES, RUNGS, search_rule
from slimprune.pipeline.stages import Analysis, Start, analyse
from slimprune.pipeline.workload import Given, own_workload
from slimprune.recipe import Recipe, make_recipe
from slimprune.results import Saliency, SearchTrial
from slimprune.saliency import Scores
from slimprune.types import ignore
from tests.conftest import tiny_images
from tests.networks import Residual, toy


def recipe(**settings: Any) -> Recipe:
    return make_recipe({"ratio": 0.5, "of": "macs", "rule": "search", "epochs": 1, **settings}).with_defaults()


def loader(seed: int = 0) -> DataLoader[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (24,), generator=generator)
    return DataLoader(TensorDataset(tiny_images(24).float() / 255, labels), batch_size=8)


@pytest.fixture
def analysis() -> Analysis:
    work = own_workload(toy(Residual).float(), Given(loader(), loader(1)), "cpu", 0)
    return analyse(recipe(), work, ignore)


def some_scores(analysis: Analysis) -> Scores:
    generator = torch.Generator().manual_seed(5)
    free = [group for group in analysis.groups if group.protected_reason is None]
    return Scores({group.id: torch.rand(group.width, generator=generator).double() for group in free}, "fake", 1, None)


def run(analysis: Analysis, **options: Any) -> Any:
    return search_rule(recipe(), analysis, analysis.work.model, some_scores(analysis), ignore, **options)


def fake_trials(monkeypatch: pytest.MonkeyPatch, losses: dict[tuple[str, int], float]) -> list[tuple[str, int]]:
    """Trials that give the stated losses (1.0 where none is stated); returns the list of those that were asked for."""
    asked = []

    def trial(recipe: Any, analysis: Any, network: Any, plan: Any, rule: str, epochs: int) -> SearchTrial:
        asked.append((rule, epochs))
        return SearchTrial(rule, epochs, losses.get((rule, epochs), 1.0), plan.slim.params, plan.slim.macs)

    monkeypatch.setattr(prospect, "_trial", trial)
    monkeypatch.setattr(prospect, "_distinct", lambda plans: plans)
    return asked


def test_the_better_half_goes_on_for_twice_as_long(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    """9 candidates: 9 trials of 1 epoch, 5 of 2, 3 of 4, that is 9 + 10 + 12 epochs."""
    favourite, early_leader = CANDIDATES[7], CANDIDATES[1]
    losses = {(early_leader, 1): 0.1, (favourite, 1): 0.5, (favourite, 2): 0.3, (favourite, 4): 0.2}
    asked = fake_trials(monkeypatch, losses)
    plan, search = run(analysis)
    assert [[epochs for _, epochs in asked].count(epochs) for epochs in RUNGS] == [9, 5, 3]
    assert search.epochs == 9 + 10 + 12
    assert search.rule == plan.rule == favourite
    assert {rule for rule, epochs in asked if epochs == 2} >= {favourite, early_leader}


def test_finished_trials_are_not_repeated(analysis: Analysis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_trials(monkeypatch, {(CANDIDATES[2], epochs): 0.1 for epochs in RUNGS})
    _, whole = run(analysis, store=tmp_path / "search.json")
    stored = json.loads((tmp_path / "search.json").read_text())
    (tmp_path / "search.json").write_text(json.dumps(stored[:12]))
    asked = fake_trials(monkeypatch, {(CANDIDATES[2], epochs): 0.1 for epochs in RUNGS})
    _, resumed = run(analysis, store=tmp_path / "search.json")
    assert len(asked) == 17 - 12
    assert resumed.trials == whole.trials


def test_candidates_of_equal_widths_are_tried_once(analysis: Analysis) -> None:
    plans = {rule: prospect.allocate_for(recipe(rule=rule), analysis, some_scores(analysis)) for rule in CANDIDATES}
    distinct = prospect._distinct(plans)
    widths = [tuple(plan.widths.values()) for plan in plans.values()]
    assert len(distinct) == len(set(widths)) < len(widths)


def test_a_real_search_keeps_the_budget_and_never_looks_at_test_targets(analysis: Analysis) -> None:
    plan, search = run(analysis)
    assert plan.slim.macs <= 0.5 * plan.dense.macs
    assert all(trial.macs <= 0.5 * plan.dense.macs and trial.loss > 0 for trial in search.trials)
    other = replace(analysis, work=replace(analysis.work, test_batches=loader(99)))
    again_plan, again = run(other)
    assert [trial.loss for trial in again.trials] == [trial.loss for trial in search.trials]
    assert again_plan.to_json() == plan.to_json()


def test_a_named_rule_is_neither_scored_nor_searched_for(analysis: Analysis, tmp_path: Path) -> None:
    start = Start(analysis.work.model, analysis.work.model)
    choice = choose_plan(recipe(rule="uniform"), analysis, start, ignore, folder=tmp_path)
    assert choice.plan.rule == "uniform"
    assert (choice.saliency, choice.search) == (None, None)
    assert stored_pruning(tmp_path).plan.to_json() == choice.plan.to_json()


def test_a_choice_survives_json(analysis: Analysis) -> None:
    plan, search = run(analysis)
    choice = PlannedPruning(plan, Saliency("prospr", 3, 2, 0.5, 1.0, 10), search)
    again = read_value(PlannedPruning, choice.to_json(), "plan")
    assert (again.saliency, again.search) == (choice.saliency, choice.search)
    assert again.plan.to_json() == plan.to_json()


def test_the_report_says_what_was_tried(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int, str]] = []
    report = slimprune.compress(
        toy(Residual).float(), train_batches=loader(), test_batches=loader(1), loss=F.cross_entropy, ratio=0.5,
        rule="search", epochs=1, draws=1, out=tmp_path / "net.slim", listener=lambda *event: heard.append(event),
    )  # fmt: skip
    document = report.to_json()
    assert document["search"]["rule"] == document["rule"]
    assert document["search"]["epochs"] == sum(trial["epochs"] for trial in document["search"]["trials"])
    assert "short trainings" in (tmp_path / "net.report.md").read_text()
    assert [event for event in heard if event[0] == "search"][-1][1:3] == (len(document["search"]["trials"]),) * 2
