from dataclasses import FrozenInstanceError, dataclass

import pytest
import torch

from slimprune.errors import UsageError
from slimprune.saliency import CRITERIA, criteria, make_criterion, register
from slimprune.saliency.criteria.grasp import GraSP
from slimprune.saliency.criteria.prospr import ProsPr
from slimprune.saliency.criteria.synflow import SynFlow
from slimprune.saliency.criteria.three_sp import ThreeSP
from tests.extensions import restored


def test_what_ships():
    names = [known.name for known in criteria()]
    assert {"prospr", "3sp", "synflow", "magnitude", "random"} <= set(names)
    assert names == sorted(set(names))
    assert all(known.description for known in criteria())


@pytest.mark.parametrize("known", criteria(), ids=lambda known: known.name)
def test_every_criterion_is_a_frozen_value_of_its_options(known):
    made = known.make()
    assert made == known.make()
    assert made.steps >= 0
    assert made.batches_per_draw >= 0
    assert isinstance(made.deterministic, bool)
    with pytest.raises(FrozenInstanceError):
        made.steps = 3


def test_options_reach_the_criterion():
    assert make_criterion("prospr", steps=5, lr=0.2) == ProsPr(steps=5, lr=0.2)
    assert make_criterion("prospr-first-order", steps=7) == ProsPr(steps=7, first_order=True)
    assert make_criterion("synflow", rounds=9) == SynFlow(rounds=9)
    assert make_criterion("grasp", by_magnitude=True) == GraSP(by_magnitude=True)


def test_snip_and_3sp_are_one():
    assert make_criterion("snip") == make_criterion("3sp") == ThreeSP()


def test_whose_draws_cannot_differ():
    deterministic = {known.name for known in criteria() if known.make().deterministic}
    assert deterministic >= {"magnitude", "synflow", "bn-scale"}
    assert deterministic.isdisjoint({"prospr", "3sp", "random"})


@pytest.mark.parametrize("name", ["iter-snip", "force", "synflow"])
def test_there_is_one_round_at_least(name):
    with pytest.raises(UsageError, match="expected rounds >= 1, got 0"):
        make_criterion(name, rounds=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("snap", {}, "expected a criterion .*prospr.*got 'snap'"),
        ("3sp", {"steps": 3}, "criterion 3sp has no option 'steps' .its options: none."),
        ("prospr", {"rounds": 3}, "criterion prospr has no option 'rounds'"),
        ("prospr-first-order", {"first_order": False}, "has no option 'first_order'"),
    ],
)
def test_what_is_not_known_is_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        make_criterion(name, **options)


def test_a_new_criterion_is_one_class(monkeypatch):
    restored(monkeypatch, CRITERIA)

    @register("first", "the first channels")
    @dataclass(frozen=True)
    class First:
        steps = 0
        batches_per_draw = 0
        deterministic = True

        def score(self, problem):
            return {group.id: torch.arange(group.width, 0, -1) for group in problem.groups}

    assert make_criterion("first") == First()
