"""Latency budgets by clocks that are formulas, and one small network for real."""

import json
import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import slimprune
from slimprune import pipeline
from slimprune.budget import Candidate, LatencyModel, Plan
from slimprune.errors import BudgetError, UsageError
from slimprune.graph import ChannelGroup
from slimprune.pipeline import latency
from slimprune.pipeline.latency import (
    MOST_NETWORKS,
    TimedAnalysis,
    check_timing,
    corrected_at_uniform,
    latency_model,
    plan_for_latency,
    with_latency_model,
)
from slimprune.pipeline.stages import Analysis, allocate_for, analyse, check_budget
from slimprune.pipeline.workload import Given, own_workload
from slimprune.recipe import Recipe, make_recipe
from slimprune.results import Report
from slimprune.timing import LayerTimes, Sampling, runtime, traced_layers
from slimprune.timing.runtime import Runtime
from slimprune.types import ignore
from tests.timing.fakes import blocked_seconds

compressing = sys.modules["slimprune.pipeline.compress"]  # the package's name of that is the function

layer_seconds = partial(blocked_seconds, block=4)


class Net(nn.Module):
    """Four convolutions of 64 channels and a head."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 64, 96, 128)
        self.body = nn.Sequential(*(nn.Conv2d(one, other, 3, padding=1) for one, other in pairwise(widths)))
        self.head = nn.Linear(128, 2)

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.body:
            images = torch.relu(layer(images))
        return torch.as_tensor(self.head(images.mean((2, 3))))


class FakeTimer:
    """A machine on which whole networks take longer than their layers: half of their time again, and what is added."""

    runtime = Runtime.of("onnxruntime", 8, 1, "cpu")

    def __init__(self, work: Any, overhead: float = 1e-5, bend: float = 0.0) -> None:
        self.work, self.dense, self.overhead, self.bend, self.rows = work, work.model, overhead, bend, 0

    def seconds(self, module: nn.Module) -> float:
        alone = sum(layer_seconds(layer) for _, layer in traced_layers(module, self.work.example))
        return self.overhead + 1.5 * alone + self.bend * alone**2

    def row(self, slim: nn.Module) -> dict[str, Any]:
        self.rows += 1
        dense, narrow = self.seconds(self.work.model), self.seconds(slim)
        speedup = dense / narrow
        return {
            "engine": "onnxruntime", "device": "cpu (fake)", "batch": 8, "threads": 1, "version": "onnxruntime 1",
            "dense_ms": 1e3 * dense, "slim_ms": 1e3 * narrow, "speedup": speedup,
            "iqr": {"dense": [1e3 * dense] * 2, "slim": [1e3 * narrow] * 2},
            "interval": [0.99 * speedup, 1.01 * speedup], "confidence": 0.99, "pairs": 48, "verdict": "",
            "disturbed": 0.0, "macs": {"dense": 1, "slim": 1, "reduction": 1.0}, "realised_share": 1.0,
        }  # fmt: skip


def recipe(**settings: Any) -> Recipe:
    return make_recipe({"ratio": 0.5, "of": "latency", "rule": "uniform", "epochs": 1, **settings}).with_defaults()


@pytest.fixture
def analysis() -> Analysis:
    torch.manual_seed(0)
    batch = [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))]
    return analyse(recipe(), own_workload(Net(), Given(batch, batch), "cpu", 0), ignore)


def fake_timed(analysis: Analysis, wanted: Recipe, **options: Any) -> tuple[TimedAnalysis, FakeTimer]:
    """The analysis as `timed` makes it, of a machine that takes as long as the formulas say."""
    timer = FakeTimer(analysis.work, **options)
    traced = traced_layers(analysis.work.model, analysis.work.example)
    times = LayerTimes([layer for _, layer in traced], lambda layers: [layer_seconds(layer) for layer in layers])
    costs: Any = analysis.costs
    model, first = LatencyModel.of(costs, analysis.groups, [name for name, _ in traced], times), None
    if "latency" in (wanted.of, *wanted.also):
        model, first = latency._at_both_ends(model, analysis.groups, timer, ignore, floor=wanted.floor)  # type: ignore[arg-type]
    return TimedAnalysis(analysis.work, analysis.groups, model, timer, first), timer  # type: ignore[arg-type]


def settle(analysis: Analysis, wanted: Recipe, **options: Any) -> tuple[Plan, FakeTimer]:
    found, timer = fake_timed(analysis, wanted, **options)
    return plan_for_latency(wanted, found, None, ignore), timer


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("round_to", [1, 4, "auto"])
@pytest.mark.parametrize("overhead", [0.0, 1e-5, 2e-5])
def test_the_measured_latency_is_the_one_that_was_asked_for(
    analysis: Analysis, ratio: float, round_to: Any, overhead: float
) -> None:
    plan, timer = settle(analysis, recipe(ratio=ratio, round_to=round_to), overhead=overhead)
    slim = slimprune.slim(analysis.work.model, plan).module
    left = timer.seconds(slim) / timer.seconds(analysis.work.model)
    assert left == pytest.approx(1 - ratio, rel=0.05)
    assert plan.achieved == pytest.approx(1 - left, abs=1e-4)
    assert plan.timing is not None
    assert 1 <= len(plan.timing.trials) <= MOST_NETWORKS
    assert timer.rows == 1 + len(plan.timing.trials)


@pytest.mark.parametrize("bend", [2e4, -1e4])
def test_where_the_layers_mislead_it_is_solved_for_again(analysis: Analysis, bend: float) -> None:
    plan, _ = settle(analysis, recipe(ratio=0.5, round_to=1), bend=bend)
    assert plan.timing is not None
    first, *others = plan.timing.trials
    assert abs(first.removed - 0.5) > 0.03
    assert others
    assert plan.achieved == pytest.approx(0.5, abs=0.025)


@pytest.mark.parametrize("bend", [2e4, -1e4])
def test_searches_begin_from_times_that_are_right_at_uniform_widths(analysis: Analysis, bend: float) -> None:
    wanted = recipe(ratio=0.5, round_to=1, rule="learned", epochs=20)
    found, timer = fake_timed(analysis, wanted, bend=bend)
    dense = timer.seconds(analysis.work.model)

    def missed(costs: Any) -> float:
        plan = allocate_for(recipe(ratio=0.5, round_to=1), replace(found, costs=costs), None)
        return abs(timer.seconds(slimprune.slim(analysis.work.model, plan).module) / dense / 0.5 - 1)

    corrected = corrected_at_uniform(wanted, found, ignore)
    assert missed(found.costs) > 0.05
    assert missed(corrected.costs) < 0.03


def test_without_a_latency_budget_no_network_is_timed_before_a_search(analysis: Analysis) -> None:
    wanted = recipe(of="macs", round_to="auto", rule="learned", epochs=20)
    found, timer = fake_timed(analysis, wanted)
    assert corrected_at_uniform(wanted, found, ignore) is found
    assert timer.rows == 0


def test_the_closest_plan_is_taken_and_its_own_figures_stand_in_it(analysis: Analysis) -> None:
    plan, _ = settle(analysis, recipe(ratio=0.5, round_to=4), bend=2e4)
    timing = plan.timing
    assert timing is not None
    assert timing.trial is not None
    misses = [abs((1 - trial.removed) / 0.5 - 1) for trial in timing.trials]
    assert timing.chosen == misses.index(min(misses))
    assert plan.dense.latency == round(1e6 * timing.trial.row["dense_ms"])
    assert plan.slim.latency == pytest.approx(1e6 * timing.trial.row["slim_ms"], abs=1)
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()


@pytest.mark.parametrize("planted", [8, 16])
def test_a_latency_budget_takes_the_rounding_that_keeps_most_macs(analysis: Analysis, planted: int) -> None:
    wanted = recipe(ratio=0.4)
    found, _ = fake_timed(analysis, wanted)
    plan = plan_for_latency(wanted, with_planted(found, planted), None, ignore)
    assert plan.timing is not None
    rounding = plan.timing.rounding
    assert rounding is not None
    by_step = {candidate.round_to: candidate.macs for candidate in rounding.candidates}
    assert by_step[rounding.round_to] == max(by_step.values()) > min(by_step.values())
    assert all(width % planted == 0 for width in free_widths(plan))


def with_planted(found: TimedAnalysis, planted: int) -> TimedAnalysis:
    """The analysis of a machine on which layers whose rows are no multiple of a number take ten times as long."""

    def seconds(layer: Any) -> float:
        own = layer.rows * layer.columns * (layer.size[0] ** 2 if layer.size else 1)
        return float(1e-9 * own * (1 if layer.rows % planted == 0 or layer.rows == 2 else 10))

    traced = traced_layers(found.work.model, found.work.example)
    times = LayerTimes([layer for _, layer in traced], lambda layers: [seconds(layer) for layer in layers])
    assert isinstance(found.costs, LatencyModel)
    return replace(found, costs=replace(found.costs, clock=times, offset=0.0, slope=1.0))


def test_a_rounding_under_which_the_request_is_missed_is_chosen_anew(analysis: Analysis) -> None:
    """By their layers networks of multiples of 32 are quick; as a whole they take 1.6 times as long, others do not."""

    def seconds(layer: Any) -> float:
        own = layer.rows * layer.columns * (layer.size[0] ** 2 if layer.size else 1)
        return float(1e-9 * own * (1 if layer.rows % 32 == 0 or layer.rows == 2 else 1.2))

    wanted = recipe(ratio=0.8)
    found, timer = fake_timed(analysis, wanted)
    work = found.work
    times = LayerTimes(
        [one for _, one in traced_layers(work.model, work.example)], lambda layers: [*map(seconds, layers)]
    )
    assert isinstance(found.costs, LatencyModel)
    whole = sum(seconds(layer) for _, layer in traced_layers(work.model, work.example))

    def taken(module: nn.Module) -> float:
        layers = [layer for _, layer in traced_layers(module, work.example)]
        slow = module is not work.model and all(layer.rows % 32 == 0 for layer in layers if layer.rows != 2)
        return sum(map(seconds, layers)) * (1.6 if slow else 1)

    timer.seconds = taken  # type: ignore[method-assign]
    costs = replace(found.costs, clock=times, offset=0.0, slope=1.0)
    plan = plan_for_latency(wanted, replace(found, costs=costs, first=whole), None, ignore)
    assert plan.timing is not None
    assert plan.timing.rounding is not None
    assert abs((1 - plan.timing.trials[0].removed) / 0.2 - 1) > 0.05
    assert plan.timing.rounding.round_to < 32
    assert plan.achieved == pytest.approx(0.8, abs=0.01)
    assert any(width % 32 for width in free_widths(plan))


def free_widths(plan: Plan) -> list[int]:
    return [plan.widths[group.id] for group in plan.groups if group.protected_reason is None]


@pytest.mark.parametrize("planted", [8, 16])
def test_a_budget_of_macs_takes_the_rounding_that_is_quickest(analysis: Analysis, planted: int) -> None:
    wanted = recipe(of="macs", ratio=0.6, round_to="auto")
    found, timer = fake_timed(analysis, wanted)
    plan = plan_for_latency(wanted, with_planted(found, planted), None, ignore)
    assert plan.timing is not None
    assert plan.timing.rounding is not None
    assert plan.timing.rounding.round_to % planted == 0
    assert plan.timing.rounding.reason.startswith("is the quickest at this budget of macs")
    assert (plan.timing.trials, plan.timing.trial, timer.rows) == ((), None, 0)


def test_a_rounding_that_leaves_much_of_a_budget_is_not_taken_for_quick(analysis: Analysis) -> None:
    """With widths of 32, 64, 96 and 128 a budget of 0.6 of the MACs ends far below it."""
    wanted = recipe(of="macs", ratio=0.4, round_to="auto")
    plan, _ = settle(analysis, wanted)
    assert plan.timing is not None
    assert plan.timing.rounding is not None
    best = max(candidate.macs for candidate in plan.timing.rounding.candidates)
    assert plan.slim.macs >= 0.95 * best


def test_roundings_that_cannot_meet_the_budget_are_left_out(analysis: Analysis) -> None:
    plan, _ = settle(analysis, recipe(ratio=0.93, of="params", round_to="auto"))
    assert plan.timing is not None
    assert plan.timing.rounding is not None
    steps = [candidate.round_to for candidate in plan.timing.rounding.candidates]
    assert 1 in steps
    assert 32 not in steps


def test_other_limits_hold_as_well(analysis: Analysis) -> None:
    plan, _ = settle(analysis, recipe(ratio=0.3, **{"and": {"macs": 0.8}}))
    assert plan.slim.macs <= 0.2 * plan.dense.macs
    assert plan.achieved >= 0.3
    plan, _ = settle(analysis, recipe(of="params", ratio=0.2, **{"and": {"latency": 0.5}}))
    assert plan.slim.params <= 0.8 * plan.dense.params
    assert plan.slim.of("latency") / plan.dense.of("latency") == pytest.approx(0.5, rel=0.05)


def test_an_impossible_latency_is_refused_by_what_was_measured(analysis: Analysis) -> None:
    wanted = recipe(ratio=0.9)
    found, timer = fake_timed(analysis, wanted, overhead=1e-3)
    with pytest.raises(BudgetError, match=r"cannot remove 0.9 of latency: the floor .* ns, a ratio of 0\.\d+ at most"):
        check_budget(wanted, found)
    assert timer.rows == 1


def test_the_listener_hears_the_end_once(analysis: Analysis) -> None:
    heard: list[tuple[str, int, int, str]] = []
    wanted = recipe()
    found, _ = fake_timed(analysis, wanted)
    plan_for_latency(wanted, found, None, lambda *event: heard.append(event))
    assert [stage for stage, done, total, _ in heard if done == total] == ["latency"]


def test_recipes_without_latency_are_not_timed(analysis: Analysis) -> None:
    assert with_latency_model(recipe(of="macs"), analysis, ignore) is analysis
    check_timing(recipe(of="macs", round_to=8))
    with pytest.raises(UsageError, match="expected engine beside a latency budget or round-to auto only"):
        check_timing(recipe(of="macs", engine="torch"))


def test_latency_is_rounded_as_it_pays_unless_told_otherwise() -> None:
    assert recipe().round_to == "auto"
    assert recipe(of="params", **{"and": {"latency": 0.5}}).round_to == "auto"
    assert recipe(round_to=4).round_to == 4
    assert recipe(of="macs").round_to == 1


# For real ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Short measurements, an empty cache and few plans."""
    monkeypatch.setenv("SLIMPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runtime, "SAMPLING", Sampling(8, 0.01))
    monkeypatch.setattr(latency, "MOST_NETWORKS", 2)
    return tmp_path


TIMED = {"of": "latency", "engine": "onnxruntime-cpu", "bench_batch": 64, "bench_threads": 1, "device": "cpu"}


def run(settings: dict[str, Any], quick: Path, **changes: Any) -> tuple[Report, dict[str, Any]]:
    report = pipeline.compress(**{**settings, **TIMED, "ratio": 0.1, "out": quick / "net.slim", **changes})
    return report, json.loads((quick / "net.report.json").read_text())


def test_a_network_is_compressed_to_a_latency(settings: dict[str, Any], quick: Path) -> None:
    report, document = run(settings, quick)
    budget = document["budget"]
    assert (budget["quantity"], budget["requested"]) == ("latency", 0.1)
    assert (budget["engine"], budget["batch"], budget["threads"]) == ("onnxruntime", 64, 1)
    assert budget["device"].startswith("cpu")
    low, high = budget["interval"]
    assert low <= budget["achieved"] + 1e-6
    assert budget["achieved"] <= high + 1e-6
    planned, trained = document["latency"]
    assert (planned["engine"], planned["against"], planned["dense_ms"]) == ("onnxruntime", "dense", budget["dense_ms"])
    assert (trained["engine"], trained["against"], trained["batch"]) == ("onnxruntime", "dense", 64)
    assert (planned["network"], trained["network"]) == ("planned", "trained")
    assert trained["macs"] == planned["macs"]
    assert trained["dense_ms"] != planned["dense_ms"]
    missed = any(abs((1 / row["speedup"]) / 0.9 - 1) > 0.05 for row in (planned, trained))
    assert missed == any("of latency was asked to go" in warning for warning in document["warnings"])
    assert "- latency: " in (quick / "net.report.md").read_text()
    assert report.recipe.hash == document["recipe"]["hash"]
    bundle = json.loads((quick / "net.slim" / "slim.json").read_text())
    assert bundle["plan"]["timing"] == document["timing"]
    assert slimprune.load(quick / "net.slim", trust_code=True) is not None


def test_a_trained_network_that_is_slower_than_its_plan_is_reported(
    settings: dict[str, Any], quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The narrowest network takes half as long as the dense one, plans 90 % as long, the trained network 99 %."""
    measured = runtime.NetworkTimer.row

    def row(timer: runtime.NetworkTimer, slim: nn.Module) -> Any:
        rows.append(measured(timer, slim))
        share = 0.99 if "train" in heard else 0.9 if len(rows) > 1 else 0.5
        return {**rows[-1], "speedup": 1 / share}

    heard: list[str] = []
    rows: list[Any] = []
    monkeypatch.setattr(runtime.NetworkTimer, "row", row)
    report, document = run(settings, quick, listener=lambda stage, *_: heard.append(stage))
    assert report.plan.achieved == pytest.approx(0.1, abs=1e-4)
    (warning,) = (one for one in document["warnings"] if "latency" in one)
    assert warning.startswith("10.0% of latency was asked to go, 10.0% went when the plan was timed and 1.0% when the")
    assert "- latency again: " in (quick / "net.report.md").read_text()
    assert list(dict.fromkeys(heard))[-1] == "latency again"


def test_a_resumed_run_uses_the_plan_that_it_had(
    settings: dict[str, Any], quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(stage: str, done: int, total: int, note: str) -> None:
        if stage == "train" and "epoch 2" in note:
            raise KeyboardInterrupt

    wanted = {**settings, **TIMED, "ratio": 0.1, "epochs": 2, "out": quick / "net.slim"}
    with pytest.raises(KeyboardInterrupt):
        pipeline.compress(listener=stop, **wanted)
    (stored,) = quick.glob(".net.slimprune-*/plan.json")
    plan = json.loads(stored.read_text())["plan"]
    monkeypatch.setattr(compressing, "with_latency_model", lambda *_: pytest.fail("timed again"))
    report = pipeline.compress(**wanted)
    assert json.loads(report.plan.to_json()) == plan


def test_widths_of_another_budget_are_rounded_as_it_pays(settings: dict[str, Any], quick: Path) -> None:
    _, document = run(settings, quick, of="macs", ratio=0.5, round_to="auto")
    assert document["timing"]["trials"] == document["latency"] == []
    assert document["timing"]["rounding"]["round_to"] in {one["round_to"] for one in candidates(document)}
    assert document["macs"]["removed"] >= 0.5
    assert set(candidates(document)[0]) == set(Candidate.__dataclass_fields__)


def candidates(document: dict[str, Any]) -> list[dict[str, Any]]:
    return list(document["timing"]["rounding"]["candidates"])


def test_a_latency_model_of_any_module_goes_into_allocate(quick: Path) -> None:
    torch.manual_seed(0)
    model, example = Net(), torch.zeros(2, 3, 8, 8)
    groups: list[ChannelGroup] = list(slimprune.find_groups(model, example))
    costs = latency_model(model, groups, example, engine="torch", batch=2, threads=1, device="cpu")
    plan = slimprune.allocate(None, groups, slimprune.Budget(0.3, "latency"), costs, rule="uniform", round_to=16)
    assert 0 < plan.slim.of("latency") <= 0.7 * plan.dense.of("latency")
    assert np.array_equal([width % 16 for width in free_widths(plan)], [0] * len(free_widths(plan)))
