"""Lottery tickets: rounds of training, masking by magnitude and rewinding."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slimprune import Report, compare, compress, train
from slimprune.errors import UsageError
from slimprune.pipeline import stages
from slimprune.pipeline.stages import training_settings
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from tests.commands import Run
from tests.pipeline.test_compress import stop_in, weights

MASKED = ("0.weight", "3.weight", "8.weight")
RATIO, ROUNDS = 0.75, 2
"""After two rounds a quarter of the weights is left, after the first (1/4) ** (1/2), a half."""


@pytest.fixture(scope="module")
def ticket(settings: dict[str, Any]) -> dict[str, Any]:
    """Of 1,400 weights 700 stay after the first round and 350 after the second; rewound to step 3 of 5 an epoch."""
    return {
        **settings, "unit": "weights", "when": "rewind", "rounds": ROUNDS, "ratio": RATIO, "rewind_step": 3,
        "epochs": 2, "device": "cpu", "fast": False,
    }  # fmt: skip


def largest(tensors: dict[str, torch.Tensor], within: dict[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
    """The masks of the `count` largest weights of all layers that are not masked yet."""
    sizes = torch.cat([(tensors[name].abs() * within[name]).flatten() for name in MASKED])
    threshold = sizes.sort(descending=True).values[count - 1]
    return {name: (tensors[name].abs() * within[name]) >= threshold for name in MASKED}


def test_equals_the_rounds_written_out(ticket: dict[str, Any], tmp_path: Path) -> None:
    report = compress(**ticket, out=tmp_path / "m.slim")
    recipe = make_recipe(ticket).with_defaults()
    work = named_workload(recipe, "cpu")
    settings, early, network = training_settings(recipe, work), {}, copy.deepcopy(work.model)

    def run(model: torch.nn.Module, after_step: Any = lambda done: None, masks: Any = None) -> float:
        return train(
            model, work.train_batches, work.test_batches, settings, loss=work.loss, metric=work.metric,
            after_step=after_step, masks=masks,
        ).final  # fmt: skip

    def remember(done: int) -> None:
        if done == 3:
            early.update({name: tensor.clone() for name, tensor in network.state_dict().items()})

    run(network, remember)
    masks, finals = {name: torch.ones_like(network.get_parameter(name)) > 0 for name in MASKED}, []
    for count in (700, 350):
        masks = largest(dict(network.named_parameters()), masks, count)
        network = copy.deepcopy(work.model)
        network.load_state_dict(early)
        finals.append(run(network, masks=masks))
    found = load_file(tmp_path / "m.slim" / "weights.safetensors")
    assert all(torch.equal(tensor, found[name]) for name, tensor in network.state_dict().items() if name in found)
    assert [(one.removed, one.fine_tuned, one.epochs) for one in report.rounds] == [
        (0.5, finals[0], 2), (0.75, finals[1], 2)
    ]  # fmt: skip


@pytest.mark.parametrize("stage", ["train dense", "train round 1", "train"])
def test_a_run_that_is_stopped_ends_in_the_same_weights(ticket: dict[str, Any], stage: str, tmp_path: Path) -> None:
    compress(**ticket, out=tmp_path / "whole.slim")
    with pytest.raises(KeyboardInterrupt):
        compress(**ticket, out=tmp_path / "m.slim", listener=stop_in(stage, 2))
    report = compress(**ticket, out=tmp_path / "m.slim")
    assert weights(tmp_path / "m.slim") == weights(tmp_path / "whole.slim")
    assert len(report.rounds) == ROUNDS


def test_the_report_shows_the_rounds(ticket: dict[str, Any], slimprune: Callable[..., Run], tmp_path: Path) -> None:
    flags = [
        part for name, value in ticket.items() if name != "fast" for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    _, out, _ = slimprune("compress", *flags, "--out", tmp_path / "m.slim")
    lines = [line.split() for line in out.splitlines() if line.startswith("round ")]
    assert [line[:6] for line in lines] == [
        ["round", "1", "50.00", "%", "of", "the"], ["round", "2", "75.00", "%", "of", "the"]
    ]  # fmt: skip


def test_tickets_and_their_twins_in_a_grid(
    ticket: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, original = [], stages.train
    monkeypatch.setattr(stages, "train", lambda *given, **more: trained.append(1) or original(*given, **more))
    own = ("ratio", "unit", "when", "rounds", "rewind_step")
    base = {name: value for name, value in ticket.items() if name not in own}
    row = {name: ticket[name] for name in own if name != "ratio"}
    grid = {
        "base": base, "budgets": ["params=0.75"], "seeds": [0], "dense": False, "uniform": False,
        "rows": {
            "ticket": row, "redrawn": {**row, "init": "reinit"},
            "at initialisation": {"unit": "weights", "criterion": "magnitude"},
        },
        "twins": False,
    }  # fmt: skip
    document = compare(grid, out=tmp_path / "out")
    cells = {cell["row"]: cell for cell in document["cells"]}
    assert sum(cells["ticket"]["weights_kept"].values()) == 350
    assert cells["redrawn"]["weights_kept"] == cells["ticket"]["weights_kept"]
    # The dense network and the first round, which the second row takes over, and one training of each row.
    assert len(trained) == 1 + 1 + 3
    assert (cells["ticket"]["epochs"], cells["at initialisation"]["epochs"]) == (2 + 2 + 2, 2)
    assert (cells["ticket"]["may_win"], cells["at initialisation"]["may_win"]) == (False, True)


def test_what_is_refused(ticket: dict[str, Any], tmp_path: Path) -> None:
    def refused(**changes: Any) -> Report:
        return compress(**{**ticket, **changes}, out=tmp_path / "m.slim")

    with pytest.raises(UsageError, match="within the 10 steps of the dense training, got 11"):
        refused(rewind_step=11)
    with pytest.raises(UsageError, match="without rounds of its own beside --rounds 2 of rewinding, got synflow"):
        refused(criterion="synflow")
    with pytest.raises(UsageError, match="criterion magnitude has no option 'rounds'"):
        refused(when="before-training", criterion="magnitude")
