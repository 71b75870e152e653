"""`--when during-training`: after some epochs of a training the network is pruned, and the training goes on."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slimprune import Recipe, Report, compare, compress, train
from slimprune.errors import UsageError
from slimprune.pipeline.stages import check_names, training_settings
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe, without_effect
from tests.pipeline.test_compress import stop_in, weights


@pytest.fixture(scope="module")
def wanted(settings: dict[str, Any]) -> dict[str, Any]:
    """Two of four epochs before half of the weights are masked."""
    given = {**settings, "when": "during-training", "prune_epoch": 2, "epochs": 4, "device": "cpu", "fast": False}
    return {**given, "unit": "weights", "criterion": "magnitude", "ratio": 0.5, "of": "params"}


@pytest.fixture(scope="module")
def whole(wanted: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    out = tmp_path_factory.mktemp("during") / "m.slim"
    return compress(**wanted, out=out), out


def test_equals_the_training_written_out(wanted: dict[str, Any], whole: tuple[Report, Path]) -> None:
    """One schedule: the epochs before are those of the whole training, and the largest weights after them stay."""
    report, out = whole
    recipe = make_recipe(wanted).with_defaults()
    work = named_workload(recipe, "cpu")
    settings, network = training_settings(recipe, work), copy.deepcopy(work.model)
    given = {"loss": work.loss, "metric": work.metric}
    first = train(network, work.train_batches, work.test_batches, settings, enough=lambda done: done == 2, **given)
    assert report.training is not None
    before, after = report.training.history[:2], report.training.history[2:]
    assert [one.train_loss for one in before] == [one.train_loss for one in first.history]
    assert [one.epoch for one in after] == [3, 4]
    assert after[-1].lr < before[-1].lr
    sizes = {name: weight.detach().abs() for name, weight in network.named_parameters() if weight.ndim > 1}
    threshold = torch.cat([size.flatten() for size in sizes.values()]).median()
    trained = load_file(out / "weights.safetensors")
    for name, size in sizes.items():
        assert torch.equal(trained[name] != 0, size > threshold)
    page = out.with_name("m.report.md").read_text()
    assert "after epoch 2 of the 4 of its training" in page


@pytest.mark.parametrize(("stage", "epoch"), [("train dense early", 2), ("train", 4)])
def test_a_run_that_is_stopped_ends_in_the_same_weights(
    wanted: dict[str, Any], whole: tuple[Report, Path], stage: str, epoch: int, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        compress(**wanted, out=tmp_path / "m.slim", listener=stop_in(stage, epoch))
    compress(**wanted, out=tmp_path / "m.slim")
    assert weights(tmp_path / "m.slim") == weights(whole[1])


def test_rows_of_a_comparison(wanted: dict[str, Any], whole: tuple[Report, Path], tmp_path: Path) -> None:
    base = {name: value for name, value in wanted.items() if name not in ("ratio", "of", "criterion", "when")}
    during = {"when": "during-training", "prune_epoch": base.pop("prune_epoch")}
    rows = {
        "magnitude": {**during, "criterion": "magnitude"},
        "anew": {**during, "criterion": "magnitude", "init": "reinit"},
        "channels": {**during, "criterion": "taylor", "unit": "channels"},
    }
    grid = {"base": base, "budgets": ["params=0.5"], "seeds": [0], "rows": rows}
    document = compare({**grid, "twins": False, "uniform": False, "dense": False}, out=tmp_path / "out")
    found = {row["row"]: row for row in document["tables"][0]["rows"]}
    assert whole[0].training is not None
    assert found["magnitude"]["mean"] == pytest.approx(100 * whole[0].training.final)
    assert {name: row["epochs"] for name, row in found.items()} == {"magnitude": 4, "anew": 2 + 4, "channels": 4}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"prune_epoch": 4}, "expected --prune-epoch below the 4 epochs, got 4"),
        ({"ema": 0.9}, "expected no --ema beside --when during-training, got 0.9"),
        ({"distill": 0.5, "train_dense": True}, "expected no --distill beside --when during-training, got 0.5"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], found: str) -> None:
    recipe = Recipe(arch="resnet20", when="during-training", epochs=4, **changes).with_defaults()
    with pytest.raises(UsageError, match=found):
        check_names(recipe)


def test_one_epoch_is_the_default_and_other_runs_have_none() -> None:
    recipe = Recipe(arch="resnet20", when="during-training").with_defaults()
    assert (recipe.prune_epoch, Recipe(arch="resnet20").with_defaults().prune_epoch) == (1, None)
    given = Recipe(arch="resnet20", prune_epoch=2).with_defaults()
    (sentence,) = without_effect(["prune_epoch"], given)
    assert sentence.startswith("--prune-epoch has no effect: ")
