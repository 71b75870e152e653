"""`--when early-bird`: the training goes on without channels once those to keep no longer change."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from slimprune import Recipe, Report, compare, compress, train
from slimprune.errors import UsageError
from slimprune.pipeline.early_bird import mask_distance
from slimprune.pipeline.stages import training_settings
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from tests.commands import Run
from tests.pipeline.test_compress import stop_in, weights


def test_the_distance_is_the_share_of_channels_that_only_one_keeps() -> None:
    one, other = {"a": [0, 1, 2], "b": [0]}, {"a": [0, 1, 3], "b": [0, 1]}
    # Channels 2 and 3 of a and 1 of b, of 6 + 4.
    assert mask_distance(one, other, {"a": 6, "b": 4}) == pytest.approx(0.3)
    assert mask_distance(one, one, {"a": 6, "b": 4}) == 0


@pytest.fixture(scope="module")
def wanted(settings: dict[str, Any]) -> dict[str, Any]:
    """Ten epochs; two of the 24 channels may differ."""
    return {**settings, "when": "early-bird", "epochs": 10, "mask_distance": 0.1, "device": "cpu", "fast": False}


@pytest.fixture(scope="module")
def whole(wanted: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    out = tmp_path_factory.mktemp("early") / "m.slim"
    return compress(**wanted, out=out), out


def test_the_ticket_is_drawn_after_five_small_distances(whole: tuple[Report, Path]) -> None:
    report, _ = whole
    assert report.early_bird is not None
    epoch, distances = report.early_bird.epoch, report.early_bird.distances
    assert len(distances) == epoch - 1
    small = [max(distances[end - 5 : end]) < 0.1 for end in range(5, epoch)]
    assert small == [*[False] * (len(small) - 1), True] or epoch == 9
    assert report.training is not None
    assert report.training.epochs == 10
    assert report.saliency is not None
    assert report.saliency.criterion == "bn-scale"


def test_equals_the_training_written_out(wanted: dict[str, Any], whole: tuple[Report, Path]) -> None:
    report, out = whole
    assert report.early_bird is not None
    recipe = make_recipe(wanted).with_defaults()
    work = named_workload(recipe, "cpu")
    settings, network, until = training_settings(recipe, work), copy.deepcopy(work.model), report.early_bird.epoch
    given = {"loss": work.loss, "metric": work.metric}
    first = train(network, work.train_batches, work.test_batches, settings, enough=lambda done: done == until, **given)
    kept = report.plan.kept
    assert report.training is not None
    assert report.training.history[:until][-1].train_loss == first.history[-1].train_loss
    slimmed = load_file(out / "weights.safetensors")
    # The channels that stay are those with the largest gains, and their rows go on from where they were.
    (group,) = (group for group in report.plan.groups if group.id in kept and group.width == 8)
    gains = network[1].weight.detach().abs()
    assert set(kept[group.id].tolist()) == set(gains.topk(len(kept[group.id])).indices.tolist())
    assert slimmed["0.weight"].shape[0] == len(kept[group.id])


@pytest.mark.parametrize(("stage", "epoch"), [("train dense early", 3), ("train", 10)])
def test_a_run_that_is_stopped_ends_in_the_same_weights(
    wanted: dict[str, Any], whole: tuple[Report, Path], stage: str, epoch: int, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        compress(**wanted, out=tmp_path / "m.slim", listener=stop_in(stage, epoch))
    report = compress(**wanted, out=tmp_path / "m.slim")
    assert weights(tmp_path / "m.slim") == weights(whole[1])
    assert report.early_bird == whole[0].early_bird


def test_channels_that_never_settle_are_removed_before_the_last_epoch(
    wanted: dict[str, Any], tmp_path: Path, flags: list[str], slimprune: Callable[..., Run]
) -> None:
    more = ("--when", "early-bird", "--epochs", 7, "--mask-distance", "0.0000001", "--lr", "0.5")
    code, out, err = slimprune("compress", *flags, *more, "--out", tmp_path / "m.slim")
    document = json.loads((tmp_path / "m.report.json").read_text())
    assert code == 0
    assert document["early_bird"]["epoch"] == 6
    assert "early bird drawn after epoch 6: the channels to keep changed by" in " ".join(out.split())
    if max(document["early_bird"]["distances"]) > 0:
        assert "note: the channels to keep still change by" in err


def test_other_initial_weights_are_trained_from_the_start(
    wanted: dict[str, Any], whole: tuple[Report, Path], tmp_path: Path
) -> None:
    report = compress(**{**wanted, "init": "reinit"}, out=tmp_path / "m.slim")
    assert all(torch.equal(one, report.plan.kept[name]) for name, one in whole[0].plan.kept.items())
    assert report.training is not None
    assert whole[0].training is not None
    assert report.training.history[0].train_loss != whole[0].training.history[0].train_loss


def test_a_row_of_a_comparison(wanted: dict[str, Any], whole: tuple[Report, Path], tmp_path: Path) -> None:
    base = {name: value for name, value in wanted.items() if name not in ("ratio", "device", "fast", "when")}
    base.pop("mask_distance")
    rows = {"early bird": {"when": "early-bird"}, "reinit": {"when": "early-bird", "init": "reinit"}}
    grid = {"title": "a", "base": base, "budgets": ["params=0.5"], "seeds": [0], "rows": rows}
    grid |= {"twins": False, "uniform": False, "dense": False}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    document = compare(tmp_path / "grid.yaml", out=tmp_path / "out", trust_code=True)
    found = {row["row"]: row for row in document["tables"][0]["rows"]}
    assert whole[0].training is not None
    assert whole[0].early_bird is not None
    assert found["early bird"]["mean"] == pytest.approx(100 * whole[0].training.final)
    assert found["early bird"]["epochs"] == 10
    assert found["reinit"]["epochs"] == 10 + whole[0].early_bird.epoch


def test_defaults() -> None:
    recipe = Recipe(arch="resnet20", when="early-bird").with_defaults()
    assert (recipe.mask_distance, Recipe(arch="resnet20").with_defaults().mask_distance) == (0.1, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "weights"}, "expected --unit channels beside --when early-bird, got weights"),
        ({"criterion": "taylor"}, "expected a criterion without batches beside --when early-bird, got taylor"),
        ({"epochs": 6}, "expected at least 7 epochs beside --when early-bird, got 6"),
        ({"ema": 0.9}, "expected no --ema beside --when early-bird, got 0.9"),
        ({"rule": "learned"}, "expected a rule and a budget that `allocate` knows, got rule learned"),
    ],
    ids=str,
)
def test_refusals(wanted: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compress(**{**wanted, **changes}, out=tmp_path / "m.slim")
