"""Widths found by weight sharing: what they are trained and judged on, how a stopped run goes on, what is reported."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import slimprune
from slimprune.errors import UsageError
from slimprune.pipeline import learned
from slimprune.pipeline.learned import learn_widths, sharing_epochs, split_images
from slimprune.pipeline.stages import Analysis, analyse
from slimprune.pipeline.workload import Given, named_workload, own_workload
from slimprune.recipe import Recipe, make_recipe
from slimprune.saliency import Scores
from slimprune.types import ignore
from tests.networks import Residual, toy
from tests.pipeline.test_search import loader


def recipe(**settings: Any) -> Recipe:
    return make_recipe({"ratio": 0.5, "of": "macs", "rule": "learned", "epochs": 1, **settings}).with_defaults()


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch) -> Analysis:
    monkeypatch.setattr(learned, "GENERATIONS", 3)
    monkeypatch.setattr(learned, "POPULATION", 5)
    work = own_workload(toy(Residual).float(), Given(loader(), loader(1)), "cpu", 0)
    return analyse(recipe(), work, ignore)


def run(analysis: Analysis, **options: Any) -> Any:
    return learn_widths(recipe(), analysis, analysis.work.model, None, ignore, **options)


def test_the_rule_found_is_the_better_of_the_search_and_of_uniform_widths(analysis: Analysis) -> None:
    found = run(analysis)
    assert found.rule == "uniform" or (found.rule.startswith("factors:") and found.loss < found.uniform_loss)
    assert (found.training, found.evaluations) == (1, 3 * 5)


def test_the_search_begins_with_uniform_widths_and_those_of_known_rules(
    analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def losses(_: Any, widths: Any, *rest: Any, **more: Any) -> list[float]:
        seen.append(widths.tolist())
        return [1.0]

    monkeypatch.setattr(learned, "losses_at", losses)
    space = learned.space_of(recipe(), analysis)
    run(analysis)
    assert len(learned.KNOWN) == 4
    known = [space.widths(space.proportions(rule)).tolist() for rule in learned.KNOWN]
    assert seen[:5] == [space.uniform.tolist(), *known]


def test_losses_are_less_only_beyond_chance() -> None:
    """Differences -1, -1.1, -0.9: mean -1, error 0.058. Differences -1, 0.5, -0.1: mean -0.2, error 0.44."""
    assert learned.is_less([1.0, 0.9, 1.1], [2.0, 2.0, 2.0], 0.95)
    assert not learned.is_less([1.0, 2.5, 1.9], [2.0, 2.0, 2.0], 0.95)
    assert learned.is_less([1.0, 2.5, 1.9], [2.0, 2.0, 2.0], 0.5)
    assert not learned.is_less([3.0, 3.1, 2.9], [2.0, 2.0, 2.0], 0.5)
    assert not learned.is_less([1.0], [2.0], 0.95)


@pytest.mark.parametrize(("uniform", "rule"), [(0.5, "uniform"), (2.0, "factors:")])
def test_widths_no_better_than_uniform_ones_are_not_taken(
    analysis: Analysis, monkeypatch: pytest.MonkeyPatch, uniform: float, rule: str
) -> None:
    """All widths but uniform ones have loss 1."""
    wanted = recipe(of="params")
    space = learned.space_of(wanted, analysis)

    def losses(_: Any, widths: Any, *rest: Any, **more: Any) -> list[float]:
        return [uniform, uniform + 0.1, uniform] if (widths == space.uniform).all() else [1.0, 1.0, 1.0]

    monkeypatch.setattr(learned, "losses_at", losses)
    assert learn_widths(wanted, analysis, analysis.work.model, None, ignore).rule.startswith(rule)


@pytest.mark.parametrize(("confidence", "rule"), [(None, "uniform"), (0.5, "factors:")])
def test_widths_are_taken_as_soon_as_it_is_as_certain_as_asked(
    analysis: Analysis, monkeypatch: pytest.MonkeyPatch, confidence: float | None, rule: str
) -> None:
    """All widths but uniform ones have losses 1, 2.5 and 1.9: 0.2 less on average than 2, with an error of 0.44."""
    wanted = recipe(of="params", width_confidence=confidence)
    space = learned.space_of(wanted, analysis)

    def losses(_: Any, widths: Any, *rest: Any, **more: Any) -> list[float]:
        return [2.0, 2.0, 2.0] if (widths == space.uniform).all() else [1.0, 2.5, 1.9]

    monkeypatch.setattr(learned, "losses_at", losses)
    assert learn_widths(wanted, analysis, analysis.work.model, None, ignore).rule.startswith(rule)


@pytest.mark.parametrize("cap", [None, 1.2, 1.5])
def test_no_layer_is_wider_than_the_cap_allows(analysis: Analysis, cap: float | None) -> None:
    space = learned.space_of(recipe(ratio=0.8, width_cap=cap), analysis)
    free = space.free
    dense = [analysis.groups[number].width for number in free]
    bounds = [min(width, math.ceil((cap or 2) * own)) for width, own in zip(dense, space.uniform[free], strict=True)]
    assert space.limits.full[free].tolist() == bounds
    assert bounds != dense


@pytest.mark.parametrize(
    ("settings", "cap"),
    [
        ({}, 2),
        ({"of": "params"}, 16),
        ({"of": "params", "and": {"macs": 0.3}}, 2),
        ({"of": "params", "width_cap": 3}, 3),
    ],
)
def test_the_cap_is_wide_where_only_parameters_are_limited(settings: dict[str, Any], cap: float) -> None:
    assert learned.width_cap(recipe(**settings)) == cap


@pytest.mark.parametrize(("cap", "spread"), [(2, 0.5), (4, 1.0), (16, 2.0), (100, 2.0)])
def test_widths_are_drawn_as_far_as_the_cap_goes(
    analysis: Analysis, monkeypatch: pytest.MonkeyPatch, cap: float, spread: float
) -> None:
    """In the training of the shared weights as in the first generation of the search."""
    seen: list[float] = []

    def drawn(groups: int, *_: Any, spread: float) -> Any:
        seen.append(spread)
        return np.zeros(groups)

    monkeypatch.setattr(learned, "random_proportions", drawn)
    monkeypatch.setattr(learned, "POPULATION", 6)
    learn_widths(recipe(width_cap=cap), analysis, analysis.work.model, None, ignore)
    assert len(seen) > 3  # in 3 training steps, and for the candidate beside uniform widths and 4 known rules
    assert set(seen) == {spread}


def test_the_cost_is_stated_in_epochs(analysis: Analysis) -> None:
    """24 samples in 3 batches of 8, all of them for training; 8 images that are evaluated cost a ninth of an epoch."""
    found = run(analysis)
    assert (found.images, found.epoch_images) == (8, 24)
    assert found.epochs == pytest.approx(1 + 15 * 8 / 24 / 3)
    assert found.to_json()["epochs"] == round(found.epochs, 2)


@pytest.mark.parametrize(
    ("stop", "way"),
    [("share weights", "cross-entropy"), ("search widths", "cross-entropy"), ("search widths", "evolution")],
)
def test_a_stopped_search_ends_the_same(analysis: Analysis, tmp_path: Path, stop: str, way: str) -> None:
    arguments = (recipe(sharing_epochs=3, width_search=way), analysis, analysis.work.model, None)
    whole = learn_widths(*arguments, ignore, store=tmp_path / "a")
    seen = 0

    def interrupt(stage: str, done: int, total: int, note: str) -> None:
        nonlocal seen
        seen += stage == stop
        if seen == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_widths(*arguments, interrupt, store=tmp_path / "b")
    again = learn_widths(*arguments, ignore, store=tmp_path / "b")
    assert (again.rule, again.loss, again.generations) == (whole.rule, whole.loss, whole.generations)


def test_images_of_a_data_set_are_divided_in_three() -> None:
    """Of 1,437 digits a fifth, 286, are held out, and 1,150 of the other 1,151 join them.

    These are 143 + 575 to search, in 5 batches of 143, and as many to confirm, in 8 batches of 718 // 8 = 89.
    """
    settings = make_recipe({"arch": "vgg11", "rule": "learned"}).with_defaults()
    work = named_workload(settings, "cpu")
    images = split_images(settings, work)
    held = torch.cat([inputs for part in (images.searched, images.confirming) for inputs, _ in part])
    counts = [sum(len(inputs) for inputs, _ in part) for part in (images.searched, images.confirming)]
    assert counts == [5 * 143, 8 * 89]
    assert len(held.flatten(1).unique(dim=0)) == sum(counts)
    assert work.data is not None
    plain = work.data.train_batches(1437, augment=False)
    everything = next(iter(plain))[0].flatten(1)
    assert all((everything == one).all(1).any() for one in held.flatten(1)[:20])
    assert len(images.training) == (1437 - 286) // 64


def test_channels_are_ranked_by_their_scores() -> None:
    """Scores 0.1, 0.9, 0.5: the second channel has rank 0, the third rank 1."""
    scores = Scores({"a": torch.tensor([0.1, 0.9, 0.5]).double()}, "fake", 1, None)
    assert learned._ranks(scores)["a"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(("epochs", "asked", "expected"), [(1, None, 1), (20, None, 3), (200, None, 20), (20, 7, 7)])
def test_weights_are_shared_for_a_part_of_the_training(epochs: int, asked: int | None, expected: int) -> None:
    """15 % of 20 are 3; of 200 they would be 30, above the most."""
    assert sharing_epochs(recipe(epochs=epochs, sharing_epochs=asked)) == expected


def test_a_run_reports_what_was_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "GENERATIONS", 2)
    monkeypatch.setattr(learned, "POPULATION", 6)
    report = slimprune.compress(
        toy(Residual).float(), train_batches=loader(), test_batches=loader(1), loss=F.cross_entropy, ratio=0.5,
        of="macs", rule="learned", width_search="evolution", epochs=1, out=tmp_path / "net.slim",
    )  # fmt: skip
    document = report.to_json()
    assert document["sharing"]["rule"] == document["rule"]
    assert (document["sharing"]["search"], document["sharing"]["evaluations"]) == ("evolution", 12)
    page = (tmp_path / "net.report.md").read_text()
    assert "12 evaluations by evolution" in page
    assert "epochs of the slim network" in page
    stored = json.loads((tmp_path / "net.report.json").read_text())
    assert stored["sharing"] == document["sharing"]
    assert report.plan.slim.macs <= 0.5 * report.plan.dense.macs


def test_learned_widths_cannot_be_asked_of_what_trains_nothing() -> None:
    example = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UsageError, match="a rule that `allocate` knows, got learned"):
        slimprune.prune(toy(Residual).float(), example, ratio=0.5, rule="learned")
