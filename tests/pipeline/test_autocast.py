from pathlib import Path
from typing import Any

import pytest

import slimprune
from slimprune.errors import UsageError
from slimprune.pipeline import autocast
from slimprune.pipeline.autocast import faster_in_bfloat16, with_precision
from slimprune.recipe import make_recipe
from slimprune.timing import AutocastTimes
from slimprune.types import REMARK

FASTER, SLOWER = AutocastTimes(2.0, 1.0), AutocastTimes(1.0, 2.0)


@pytest.fixture(params=[FASTER, SLOWER], ids=["faster", "slower"])
def times(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AutocastTimes:
    monkeypatch.setattr(autocast, "autocast_times", lambda device: request.param)
    found: AutocastTimes = request.param
    return found


def test_a_recipe_is_decided_by_the_times(times: AutocastTimes) -> None:
    recipe = make_recipe({"amp": "auto", "device": "cpu"}).with_defaults()
    decided, reason = with_precision(recipe)
    assert (decided.amp, reason) == (times.pays, str(times))
    assert decided.hash == make_recipe({"amp": times.pays, "device": "cpu"}).with_defaults().hash


def test_a_recipe_that_says_what_it_wants_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autocast, "autocast_times", pytest.fail)
    for amp in (True, False):
        recipe = make_recipe({"amp": amp}).with_defaults()
        assert with_precision(recipe) == (recipe, None)


def test_devices_that_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autocast, "choose_device", lambda name: __import__("torch").device(name))
    assert faster_in_bfloat16("mps") == (False, "amp auto is off: nothing is measured on mps")


def test_the_report_says_what_was_used(settings: dict[str, Any], times: AutocastTimes, tmp_path: Path) -> None:
    told: list[str] = []
    report = slimprune.compress(
        **settings, amp="auto", out=tmp_path / "a.slim",
        listener=lambda stage, done, total, note: told.append(note) if stage == REMARK else None,
    )  # fmt: skip
    assert report.recipe.amp is times.pays
    assert str(times) in report.notes
    assert str(times) in told


@pytest.mark.parametrize("amp", ["maybe", 2, None])
def test_other_values_are_refused(amp: object) -> None:
    with pytest.raises(UsageError, match=r"amp: expected true, false or auto, got"):
        make_recipe({"amp": amp})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("no", False), ("auto", "auto")])
def test_amp_as_text(text: str, value: object) -> None:
    assert make_recipe({"amp": text}).amp == value
