"""Widths by what channels are worth in a trained network: what is measured, what follows, and what it costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import slimprune
from slimprune.errors import UsageError
from slimprune.graph import find_groups
from slimprune.pipeline import adjusted
from slimprune.pipeline.adjusted import EXPONENT, LEAST_WORTH, proportions_of, worths
from slimprune.pipeline.learned import space_of
from slimprune.pipeline.plan import choose_plan
from slimprune.pipeline.stages import Analysis, Start, analyse, needs_scores
from slimprune.pipeline.workload import Given, own_workload
from slimprune.recipe import Recipe, make_recipe
from slimprune.types import ignore
from slimprune.weight_sharing import losses_of
from tests.networks import Residual, toy
from tests.pipeline.test_search import loader


def recipe(**settings: Any) -> Recipe:
    return make_recipe({"ratio": 0.4, "of": "macs", "rule": "adjusted", "epochs": 2, **settings}).with_defaults()


@pytest.fixture
def analysis() -> Analysis:
    return analyse(recipe(), own_workload(toy(Residual).float(), Given(loader(), loader(1)), "cpu", 0), ignore)


def start(analysis: Analysis) -> Start:
    return Start(analysis.work.model, analysis.work.model)


class Deaf(nn.Module):
    """Two layers, of which the output ignores the second; without norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heard, self.ignored = nn.Conv2d(3, width, 1), nn.Conv2d(3, width, 1)
        self.fc, self.other = nn.Linear(width, 2), nn.Linear(width, 2)
        nn.init.zeros_(self.other.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.heard(x).mean((2, 3))) + self.other(self.ignored(x).mean((2, 3)))


def test_channels_that_the_output_ignores_are_worth_nothing() -> None:
    """All channels of the other layer are alike, so that any of them may go: the loss without the first is the one."""
    torch.manual_seed(0)
    model, batches = Deaf(4), [(torch.randn(8, 3, 4, 4), torch.arange(8) % 2) for _ in range(2)]
    with torch.no_grad():
        model.heard.weight.copy_(model.heard.weight[:1].expand_as(model.heard.weight))
        model.heard.bias.copy_(model.heard.bias[:1].expand_as(model.heard.bias))
        model.fc.weight.copy_(model.fc.weight[:, :1].expand_as(model.fc.weight))
    found = analyse(recipe(), own_workload(Deaf(5), Given(batches, batches), "cpu", 0), ignore)
    space = space_of(recipe(ratio=0.1), found)
    assert space.uniform.tolist() == [4, 4, 2]
    groups = {group.id: group for group in find_groups(model, batches[0][0])}
    loss = nn.functional.cross_entropy
    heard, ignored = worths(model, groups, space, batches, loss, amp=False)
    whole = np.mean(losses_of(model, batches, loss, amp=False))
    with torch.no_grad():
        model.fc.weight[:, 0] = 0
    uniform, fewer = (space.costs.cost(np.array([width, 4, 2])).macs for width in (4, 3))
    assert heard == pytest.approx(
        (np.mean(losses_of(model, batches, loss, amp=False)) - whole) / ((uniform - fewer) / uniform)
    )
    assert ignored == pytest.approx(0, abs=1e-5)


def test_widths_go_by_a_small_power_of_the_worth() -> None:
    """Four times the worth gives 4^0.2 times the width; worth below the least counts as that, infinity not at all."""
    even = proportions_of([1.0, 4.0, np.inf])
    assert even[1] - even[0] == pytest.approx(EXPONENT * np.log(4))
    assert even[2] == 0
    assert proportions_of([-1.0, LEAST_WORTH]).tolist() == [0, 0]


@pytest.mark.parametrize("settings", [{}, {"of": "params"}, {"and": {"params": 0.45}}, {"round_to": 2}])
def test_the_widths_are_within_the_budget_and_follow_from_the_seed(
    analysis: Analysis, settings: dict[str, Any]
) -> None:
    wanted = recipe(**settings)
    one, again = (choose_plan(wanted, analysis, start(analysis), ignore) for _ in range(2))
    assert one.plan.to_json() == again.plan.to_json()
    assert one.plan.budget.allows(one.plan.slim, one.plan.dense)
    assert one.plan.rule.startswith("factors:") or one.plan.rule == "uniform"
    assert one.epochs == 2


def test_neither_scores_nor_the_given_network_are_touched(analysis: Analysis) -> None:
    before = {name: tensor.clone() for name, tensor in analysis.work.model.state_dict().items()}
    assert not needs_scores(recipe())
    planned = choose_plan(recipe(), analysis, start(analysis), ignore)
    assert planned.saliency is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in analysis.work.model.state_dict().items())


def test_an_interrupted_training_goes_on(analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interruption after the first of two epochs, it trains one more, and ends with the widths of a run in one go."""
    whole = choose_plan(recipe(), analysis, start(analysis), ignore)

    class InterruptionError(Exception):
        pass

    def stop(stage: str, done: int, total: int, note: str) -> None:
        if stage == adjusted.STAGE and done > total // 2:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        choose_plan(recipe(), analysis, start(analysis), stop, folder=tmp_path)
    steps: list[int] = []

    def count(stage: str, done: int, total: int, note: str) -> None:
        if stage == adjusted.STAGE:
            steps.append(done)

    again = choose_plan(recipe(), analysis, start(analysis), count, folder=tmp_path)
    assert min(steps) > 1
    assert again.plan.to_json() == whole.plan.to_json()


def test_the_report_says_what_the_widths_follow_and_what_they_cost(tmp_path: Path) -> None:
    report = slimprune.compress(
        toy(Residual).float(), train_batches=loader(), test_batches=loader(1), ratio=0.4, of="macs", rule="adjusted",
        epochs=2, device="cpu", out=tmp_path / "net.onnx",
    )  # fmt: skip
    page = (tmp_path / "net.report.md").read_text()
    assert "by what channels are worth to uniform ones that were trained for 2 epochs" in page
    assert "rule adjusted" in page
    assert report.search is not None
    assert report.search.epochs == 2


def test_it_is_refused_without_one_output_for_each_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected no --rule adjusted beside a forward_fn"):
        slimprune.compress(
            toy(Residual).float(), train_batches=loader(), test_batches=loader(1), ratio=0.4, of="macs",
            rule="adjusted", epochs=1, forward_fn=lambda model, batch: model(batch[0]),
            loss=lambda output, batch: nn.functional.cross_entropy(output, batch[1]),
            metric=slimprune.Metric("loss", lambda output, batch: output.mean(), None), out=tmp_path / "net.onnx",
        )  # fmt: skip
