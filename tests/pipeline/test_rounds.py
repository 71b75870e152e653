"""Trained networks that are pruned and fine-tuned in several rounds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import slimprune
from slimprune import pipeline
from slimprune.comparison import compare
from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import ChannelGroup
from slimprune.models import save_weights
from slimprune.pipeline import rounds
from slimprune.pipeline.stages import Start, analyse, starting_networks
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from slimprune.surgery import prove
from slimprune.types import ignore


@pytest.fixture
def given(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Settings with the weights of another seed, which stand for trained ones."""
    work = named_workload(make_recipe({**settings, "seed": 5}).with_defaults(), "cpu")
    save_weights(work.model, tmp_path / "given.safetensors")
    return {**settings, "weights": tmp_path / "given.safetensors", "ratio": 0.75, "of": "macs"}


def stages_of(given: dict[str, Any], out: Path, **changes: Any) -> tuple[slimprune.Report, list[str]]:
    stages: list[str] = []
    report = slimprune.compress(**{**given, **changes}, out=out, listener=lambda stage, *_: stages.append(stage))
    return report, list(dict.fromkeys(stages))


def test_each_round_removes_the_same_share_of_what_is_left(given: dict[str, Any], tmp_path: Path) -> None:
    report, stages = stages_of(given, tmp_path / "a.slim", rounds=2, epochs=3)
    assert [stage for stage in stages if stage.startswith("train")] == ["train round 1", "train"]
    first, second = report.rounds
    # Half of the MACs stay after the first round and half of these after the second; widths are whole numbers.
    assert 0.5 <= first.removed < 0.6
    assert 0.75 <= second.removed < 0.8
    assert (first.epochs, second.epochs) == (1, 2)
    assert second.fine_tuned == report.training.final
    assert report.plan.achieved == second.removed
    assert report.plan.budget.ratio == 0.75
    assert report.plan.dense.macs == report.dense.cost.macs
    assert report.plan.slim.macs == report.slim.cost.macs
    assert report.proof.passed
    page = (tmp_path / "a.report.md").read_text()
    assert f"- round 2: {100 * second.removed:.2f} % of macs gone" in page


def test_the_bundle_of_rounds_is_a_slim_form_of_the_dense_network(given: dict[str, Any], tmp_path: Path) -> None:
    report, _ = stages_of(given, tmp_path / "a.slim", rounds=2, epochs=2)
    loaded = slimprune.load(tmp_path / "a.slim", trust_code=True)
    work = named_workload(make_recipe(given).with_defaults(), "cpu")
    whole = slimprune.SlimModel(loaded, report.plan)
    assert prove(work.model, whole, work.example, trained=True).passed
    dense = slimprune.evaluate(work.model, work.test_batches, work.metric, device="cpu")
    assert report.accuracies is not None
    assert report.accuracies.dense == dense


def test_later_rounds_keep_a_part_of_what_the_earlier_ones_kept(given: dict[str, Any], tmp_path: Path) -> None:
    recipe = make_recipe({**given, "rounds": 3, "epochs": 3}).with_defaults()
    work = named_workload(recipe, "cpu")
    analysis = analyse(recipe, work, ignore)
    start = starting_networks(recipe, work, tmp_path / "dense", ignore)
    last = rounds.earlier_rounds(recipe, analysis, start, tmp_path)
    assert last.before is not None
    assert 1 - last.before.achieved == pytest.approx(0.25 ** (2 / 3), abs=0.05)
    assert len(last.done) == 2
    # The budget of the last round is relative to what is left: 0.25 of the dense network.
    allowed = (1 - last.recipe.ratio) * last.analysis.costs.dense.macs
    assert allowed == pytest.approx(0.25 * last.before.dense.macs)
    planned = rounds.choose_plan(last.recipe, last.analysis, last.start, ignore)
    whole = last.of_dense(planned.plan, recipe)
    for group, channels in whole.kept.items():
        assert set(channels.tolist()) <= set(last.before.kept[group].tolist())
        assert len(channels) == len(planned.plan.kept[group])


def test_an_interrupted_run_resumes_in_its_round(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = stages_of(given, tmp_path / "whole.slim", rounds=2, epochs=2)

    def interrupt(stage: str, done: int, total: int, note: str) -> None:
        if stage == "train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slimprune.compress(**{**given, "rounds": 2, "epochs": 2}, out=tmp_path / "a.slim", listener=interrupt)
    resumed, stages = stages_of(given, tmp_path / "a.slim", rounds=2, epochs=2)
    assert "score" not in stages
    assert resumed.rounds == whole.rounds
    assert all(torch.equal(resumed.plan.kept[group], kept) for group, kept in whole.plan.kept.items())


def test_a_comparison_prunes_in_rounds_too(given: dict[str, Any], tmp_path: Path) -> None:
    report, _ = stages_of(given, tmp_path / "a.slim", rounds=2, epochs=2, criterion="magnitude")
    base = {**given, "weights": str(given["weights"]), "criterion": "magnitude", "epochs": 2}
    del base["ratio"], base["of"]
    grid = {"base": base, "budgets": ["macs=0.75"], "seeds": [0], "rows": {"two": {"rounds": 2}}, "twins": False}
    document = compare(grid, out=tmp_path / "compared")
    (cell,) = [cell for cell in document["cells"] if cell["row"] == "two"]
    assert cell["final"] == report.rounds[-1].fine_tuned
    assert cell["pruned"] == report.rounds[-1].pruned
    assert cell["widths"] == report.plan.widths
    assert cell["kept"]["macs"] == 1 - report.plan.achieved
    assert cell["epochs"] == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rounds": 4, "epochs": 3}, "expected at least one epoch for each of 4 rounds, got 3"),
        (
            {"rounds": 2, "epochs": 2, "criterion": "synflow"},
            "expected a criterion without rounds of its own beside --rounds 2, got synflow",
        ),
        (
            {"rounds": 2, "epochs": 2, "rule": "search"},
            "expected a rule that `allocate` knows beside --rounds 2, got search",
        ),
        ({"rounds": 2, "epochs": 2, "init": "reinit"}, "expected init keep beside --rounds 2, got reinit"),
        (
            {"rounds": 2, "epochs": 2, "of": "latency"},
            "expected a budget that is counted beside --rounds 2, got latency",
        ),
    ],
    ids=str,
)
def test_what_needs_a_single_round_is_refused(
    given: dict[str, Any], tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        slimprune.compress(**{**given, **changes}, out=tmp_path / "a.slim")


def test_a_plan_without_training_has_one_round(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected one round to plan without training, got 2"):
        pipeline.plan(**{**given, "rounds": 2, "epochs": 2})


def test_a_slim_network_with_other_groups_is_refused(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe({**given, "rounds": 2, "epochs": 2}).with_defaults()
    work = named_workload(recipe, "cpu")
    analysis = analyse(recipe, work, ignore)
    start: Start = starting_networks(recipe, work, tmp_path / "dense", ignore)

    def without_last(model: nn.Module, *rest: Any, **options: Any) -> list[ChannelGroup]:
        return list(analysis.groups)

    monkeypatch.setattr("slimprune.pipeline.stages.find_groups", without_last)
    with pytest.raises(UnsupportedModelError, match="expected the slim network's channel groups to be those"):
        rounds.earlier_rounds(recipe, analysis, start, tmp_path)
