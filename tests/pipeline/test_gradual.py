"""`--when gradual`: weights are masked in the course of the training, by a cubic schedule."""

import copy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slimprune import Recipe, Report, compare, compress, train
from slimprune.errors import UsageError
from slimprune.masks import gradual_sparsity
from slimprune.pipeline.stages import training_settings
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from tests.commands import Run
from tests.pipeline.test_compress import stop_in, weights

MASKED = ("0.weight", "3.weight", "8.weight")
"""Of the tiny architecture: 216, 1152 and 32 weights, 1,400 in all."""


@pytest.fixture(scope="module")
def wanted(settings: dict[str, Any]) -> dict[str, Any]:
    """Four epochs of five steps; weights are masked after steps 8, 12 and 15."""
    return {
        **settings, "unit": "weights", "when": "gradual", "ratio": 0.8, "rounds": 3, "prune_from": 1, "prune_until": 3,
        "epochs": 4, "device": "cpu", "fast": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(wanted: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    out = tmp_path_factory.mktemp("gradual") / "m.slim"
    return compress(**wanted, out=out), out


def zeros(tensors: dict[str, torch.Tensor]) -> int:
    return sum(int((tensors[name] == 0).sum()) for name in MASKED)


def test_as_many_weights_are_zero_as_asked(whole: tuple[Report, Path]) -> None:
    report, out = whole
    assert report.masks is not None
    assert report.masks.kept == 280
    assert zeros(load_file(out / "weights.safetensors")) == 1400 - 280
    assert report.training is not None
    assert [record.epoch for record in report.training.history] == [1, 2, 3, 4]


def test_equals_the_training_written_out(wanted: dict[str, Any], whole: tuple[Report, Path]) -> None:
    recipe = make_recipe(wanted).with_defaults()
    work = named_workload(recipe, "cpu")
    settings, network = training_settings(recipe, work), copy.deepcopy(work.model)
    masks = {name: torch.ones_like(network.get_parameter(name)) for name in MASKED}
    # Two of the three distances between steps 5 and 15 are 3.33 and 6.67 long.
    shares = {5 + 3: gradual_sparsity(0.8, 1 / 3), 5 + 7: gradual_sparsity(0.8, 2 / 3), 15: 0.8}
    seen = []

    def mask(done: int) -> None:
        own = {name: network.get_parameter(name).detach() for name in MASKED}
        if done in shares:
            sizes = torch.cat([(own[name].abs() * masks[name]).flatten() for name in MASKED])
            threshold = sizes.sort(descending=True).values[round((1 - shares[done]) * 1400) - 1]
            for name in MASKED:
                masks[name] = ((own[name].abs() * masks[name]) >= threshold).float()
        for name in MASKED:
            own[name].mul_(masks[name])
        seen.append(zeros(own))

    def run(**more: Any) -> Any:
        return train(
            network, work.train_batches, work.test_batches, settings, loss=work.loss, metric=work.metric, **more
        )  # fmt: skip

    first = run(after_step=mask, enough=lambda epochs: epochs >= 3)
    # 1,400 times 0.8 * 19/27 and 0.8 * 26/27 are 788 and 1,079; the last of 1,120.
    assert seen == [0] * 7 + [788] * 4 + [1079] * 3 + [1120]
    last = run(masks={name: kept > 0 for name, kept in masks.items()}, earlier=first.history)
    found = load_file(whole[1] / "weights.safetensors")
    assert all(torch.equal(tensor, found[name]) for name, tensor in network.state_dict().items() if name in found)
    assert whole[0].training is not None
    assert whole[0].training.final == last.final


def test_learning_rates_are_those_of_one_training(whole: tuple[Report, Path], wanted: dict[str, Any]) -> None:
    plain = {name: value for name, value in wanted.items() if not name.startswith(("prune", "rounds", "when"))}
    other = compress(**plain, criterion="magnitude", out=whole[1].with_name("plain.slim"))
    assert whole[0].training is not None
    assert other.training is not None
    assert [one.lr for one in whole[0].training.history] == [one.lr for one in other.training.history]


@pytest.mark.parametrize(("stage", "epoch"), [("train gradually", 1), ("train gradually", 3), ("train", 4)])
def test_a_run_that_is_stopped_ends_in_the_same_weights(
    wanted: dict[str, Any], whole: tuple[Report, Path], stage: str, epoch: int, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        compress(**wanted, out=tmp_path / "m.slim", listener=stop_in(stage, epoch))
    report = compress(**wanted, out=tmp_path / "m.slim")
    assert weights(tmp_path / "m.slim") == weights(whole[1])
    assert report.masks == whole[0].masks


def test_a_signal_behind_a_new_mask_loses_neither_it_nor_the_epoch(
    wanted: dict[str, Any], whole: tuple[Report, Path], tmp_path: Path
) -> None:
    def interrupt(stage: str, done: int, total: int, note: str) -> None:
        if stage == "train gradually" and done == 13:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compress(**wanted, out=tmp_path / "m.slim", listener=interrupt)
    assert list(tmp_path.rglob("checkpoint-0002-000003.safetensors"))
    compress(**wanted, out=tmp_path / "m.slim")
    assert weights(tmp_path / "m.slim") == weights(whole[1])


def test_other_initial_weights_start_anew_with_the_same_masks(
    wanted: dict[str, Any], whole: tuple[Report, Path], tmp_path: Path
) -> None:
    for changes in ({"init": "reinit"}, {"twin": "shuffle"}):
        report = compress(**{**wanted, **changes}, out=tmp_path / "m.slim")
        assert report.masks == whole[0].masks
        assert weights(tmp_path / "m.slim") != weights(whole[1])
        assert report.training is not None
        assert report.training.epochs == 4


def test_what_is_said(wanted: dict[str, Any], flags: list[str], slimprune: Callable[..., Run], tmp_path: Path) -> None:
    more = ("--unit", "weights", "--when", "gradual", "--epochs", "2", "--draws", "4", "--out", tmp_path / "m.slim")
    code, out, err = slimprune("compress", *flags, *more)
    assert code == 0
    assert "gradual masked 20 times after epoch 0 to 1 of 2, by the sizes of the weights" in " ".join(out.split())
    assert "--draws has no effect: the sizes of the weights decide, without batches" in err
    assert "--prune-until has no effect" not in err


def test_defaults() -> None:
    recipe = Recipe(unit="weights", when="gradual", data="digits").with_defaults()
    assert (recipe.prune_from, recipe.prune_until, recipe.rounds, recipe.epochs) == (0, 6, 20, 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "channels"}, "expected --unit weights beside --when gradual, got channels"),
        ({"criterion": "snip"}, "expected criterion magnitude beside --when gradual, got snip"),
        ({"prune_until": 4}, "expected --prune-until above --prune-from and below the 4 epochs, got 4 after 1"),
        ({"prune_from": 3}, "expected --prune-until above --prune-from and below the 4 epochs, got 3 after 3"),
        ({"ema": 0.9}, "expected no --ema beside --when gradual, got 0.9"),
        ({"twin": "invert"}, "expected --twin shuffle beside --when gradual, got invert"),
    ],
    ids=str,
)
def test_refusals(wanted: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compress(**{**wanted, **changes}, out=tmp_path / "m.slim")


def test_a_row_of_a_comparison(wanted: dict[str, Any], whole: tuple[Report, Path], tmp_path: Path) -> None:
    import yaml

    own = ("when", "rounds", "prune_from", "prune_until")
    shared = ("ratio", "device", "fast", *own)
    base = {name: value for name, value in wanted.items() if name not in shared}
    rows = {"gradual": {name: wanted[name] for name in own}, "at initialisation": {"criterion": "magnitude"}}
    grid = {"title": "a", "base": base, "budgets": ["params=0.8"], "seeds": [0], "rows": rows}
    grid |= {"twins": False, "uniform": False, "dense": False}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    document = compare(tmp_path / "grid.yaml", out=tmp_path / "out", trust_code=True)
    found = {row["row"]: row for row in document["tables"][0]["rows"]}
    assert whole[0].training is not None
    assert found["gradual"]["mean"] == pytest.approx(100 * whole[0].training.final)
    assert found["gradual"]["epochs"] == found["at initialisation"]["epochs"] == 4
    assert found["gradual"]["params"] == found["at initialisation"]["params"]
