from dataclasses import dataclass

import pytest
import torch

from slimprune.errors import UsageError
from slimprune.saliency import criteria, make_criterion, register, registry
from slimprune.saliency.criteria.prospr import ProsPr


def test_what_ships():
    assert {entry.name for entry in criteria()} >= {"prospr", "prospr-first-order", "3sp", "random", "magnitude"}
    assert all(entry.description for entry in criteria())


def test_options_reach_the_criterion():
    assert make_criterion("prospr", steps=5, lr=0.2) == ProsPr(steps=5, lr=0.2)
    assert make_criterion("prospr-first-order", steps=7) == ProsPr(steps=7, first_order=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("snap", {}, "expected a criterion .*prospr.*got 'snap'"),
        ("3sp", {"steps": 3}, "criterion 3sp has no option 'steps' .its options: none."),
        ("prospr-first-order", {"first_order": False}, "has no option 'first_order'"),
    ],
)
def test_what_is_not_known_is_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        make_criterion(name, **options)


def test_a_new_criterion_is_one_class(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    @register("first", "the first channels")
    @dataclass(frozen=True)
    class First:
        steps = 0
        batches_per_draw = 0

        def score(self, problem):
            return {group.id: torch.arange(group.width, 0, -1) for group in problem.groups}

    assert make_criterion("first") == First()
