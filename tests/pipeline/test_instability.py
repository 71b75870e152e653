"""`instability`: two trainings from one state, the error between them, and what is refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from slimprune import evaluate, pipeline, train
from slimprune.errors import UsageError
from slimprune.pipeline.instability import Moment
from slimprune.pipeline.stages import training_settings
from slimprune.pipeline.trained import with_new_statistics
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from slimprune.training import BranchedBatches, between, set_epoch
from tests.commands import Run, error_line, listing
from tests.pipeline.test_compress import stop_in


@pytest.fixture(scope="module")
def wanted(settings: dict[str, Any]) -> dict[str, Any]:
    """Two epochs of five steps."""
    return {**settings, "epochs": 2, "criterion": "magnitude", "device": "cpu"}


@pytest.fixture(scope="module")
def found(wanted: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("instability") / "new" / "a.json"
    document = pipeline.instability(**wanted, at=("1epoch", "3", "0", "5 steps"), points=3, out=out)
    return dict(document), out


def test_the_document_is_what_is_written(found: tuple[dict[str, Any], Path]) -> None:
    document, out = found
    assert json.loads(out.read_text()) == json.loads(json.dumps(document))
    assert listing(out.parent) == ["a.json", "a.png", "a.svg"]
    assert document["places"] == [0, 0.5, 1]
    assert document["statistics_images"] == 40
    assert [network["network"] for network in document["networks"]] == ["dense", "slim"]
    assert document["networks"][1]["params"] < document["networks"][0]["params"]


def test_the_branches_are_sorted_steps(found: tuple[dict[str, Any], Path]) -> None:
    for network in found[0]["networks"]:
        assert [(curve["step"], curve["epoch"]) for curve in network["curves"]] == [(0, 0), (3, 0.6), (5, 1)]


def test_instability_is_the_highest_error_above_the_mean_of_the_ends(found: tuple[dict[str, Any], Path]) -> None:
    for network in found[0]["networks"]:
        for curve in network["curves"]:
            first, middle, last = curve["errors"]
            assert curve["instability"] == pytest.approx(max(first, middle, last) - (first + last) / 2)
            assert curve["distance"] > 0


def test_equals_the_two_trainings_written_out(wanted: dict[str, Any], found: tuple[dict[str, Any], Path]) -> None:
    recipe = make_recipe(wanted).with_defaults()
    work = named_workload(recipe, "cpu")
    assert work.data is not None
    networks, finals = [], []
    other = BranchedBatches(copy.copy(work.train_batches), work.data.train_batches(8, seed=1), 3)
    for batches in (work.train_batches, other):
        network = copy.deepcopy(work.model)
        result = train(
            network, batches, work.test_batches, training_settings(recipe, work), loss=work.loss, metric=work.metric
        )
        networks.append(network)
        finals.append(1 - result.final)
    set_epoch(work.train_batches, 0)
    middle = with_new_statistics(between(*networks, 0.5), work, seed=0)
    curve = found[0]["networks"][0]["curves"][1]
    assert curve["trained"] == finals
    assert curve["errors"][1] == 1 - evaluate(middle, work.test_batches, work.metric, device="cpu")


def test_masked_weights_are_zero_all_along_the_line(
    wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counting(first: torch.nn.Module, second: torch.nn.Module, share: float) -> torch.nn.Module:
        made = between(first, second, share)
        seen.append(sum(int((made.get_parameter(name) == 0).sum()) for name in ("0.weight", "3.weight", "8.weight")))
        return made

    monkeypatch.setattr("slimprune.pipeline.branched_trainings.between", counting)
    masks = {"unit": "weights", "ratio": 0.8, "networks": ("pruned",), "points": 3, "out": tmp_path / "m.json"}
    document = pipeline.instability(**{**wanted, **masks})
    assert document["networks"][0]["network"] == "masked"
    assert seen == [1120, 1120, 1120]  # of 1,400 weights 280 stay


def test_a_run_that_is_stopped_ends_in_the_same_figures(wanted: dict[str, Any], tmp_path: Path) -> None:
    asked = {**wanted, "at": ("5",), "points": 3, "networks": ("dense",)}
    whole = pipeline.instability(**asked, out=tmp_path / "whole.json")
    for stage in ("train dense", "train dense from step 5"):
        with pytest.raises(KeyboardInterrupt):
            pipeline.instability(**asked, out=tmp_path / "m.json", listener=stop_in(stage, 2))
    document = pipeline.instability(**asked, out=tmp_path / "m.json")
    assert document["networks"] == whole["networks"]


@pytest.mark.parametrize(("unit", "kinds"), [("channels", ["dense", "slim"]), ("weights", ["dense", "masked"])])
def test_several_seeds_are_those_of_runs_of_their_own(
    wanted: dict[str, Any], unit: str, kinds: list[str], tmp_path: Path
) -> None:
    """Of two values a and b the mean is (a + b) / 2 and the standard deviation |a - b| / sqrt(2)."""
    asked = {**wanted, "unit": unit, "of": "params", "at": ("3",), "points": 3}
    both = pipeline.instability(**asked, seeds=(4, 1), out=tmp_path / "both.json")
    alone = [pipeline.instability(**{**asked, "seed": seed}, out=tmp_path / f"{seed}.json") for seed in (4, 1)]
    assert both["seeds"] == [4, 1]
    assert [network["network"] for network in both["networks"]] == kinds
    for number, network in enumerate(both["networks"]):
        (curve,) = network["curves"]
        own = [document["networks"][number]["curves"][0] for document in alone]
        assert [one["errors"] for one in curve["by_seed"]] == [one["errors"] for one in own]
        first, second = (one["instability"] for one in own)
        assert curve["instability"] == pytest.approx((first + second) / 2)
        assert curve["spread"]["instability"] == pytest.approx(abs(first - second) / 2**0.5)
        middle = [one["errors"][1] for one in own]
        assert curve["errors"][1] == pytest.approx(sum(middle) / 2)
        assert "by_seed" not in own[0]


@pytest.mark.parametrize(("text", "steps"), [("0", 0), ("7", 7), ("7 steps", 7), (" 1epoch ", 10), ("3 epochs", 30)])
def test_moments(text: str, steps: int) -> None:
    assert Moment.parsed(text).step(10) == steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at": ("2epochs",)}, "expected --at below the 10 steps of the dense network, got 10"),
        ({"at": ("half",)}, "expected --at as steps \\(500\\) or epochs \\(1epoch\\), got 'half'"),
        ({"at": ("-1",)}, "expected --at as steps"),
        ({"at": ()}, "expected --at as steps .*, got none"),
        ({"points": 2}, "expected --points of at least 3, got 2"),
        ({"networks": ("slim",)}, "expected --network \\(dense, pruned\\), got slim"),
        ({"networks": ()}, "expected --network .* got none"),
        ({"when": "gradual", "unit": "weights"}, "expected pruning before a training, .* got --when gradual"),
        ({"seeds": (1, 1)}, "expected --seeds from 0, each once, got 1, 1"),
        ({"out": Path("a.onnx")}, "expected --out to end in .json, got a.onnx"),
    ],
    ids=str,
)
def test_refusals(wanted: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    def trains(stage: str, done: int, total: int, note: str) -> None:
        raise AssertionError(f"refused after {stage}")

    with pytest.raises(UsageError, match=message):
        pipeline.instability(**{**wanted, "out": tmp_path / "a.json", **changes}, listener=trains)
    assert listing(tmp_path) == []


def test_the_command(wanted: dict[str, Any], folder: Path, slimprune: Callable[..., Run]) -> None:
    (folder / "r.yaml").write_text(yaml.safe_dump({**wanted, "out": "r.onnx"}))
    result = slimprune("instability", "r.yaml", "--at", "5", "--points", "2", "--trust-code")
    assert error_line(result) == "error: expected --points of at least 3, got 2"
    result = slimprune("instability", "r.yaml", "--seeds", "0,a", "--trust-code")
    assert error_line(result) == "error: expected --seeds as numbers with commas, got 'a'"
    more = ("--points", "3", "--network", "dense", "--epochs", "1", "--trust-code")
    code, out, _ = slimprune("instability", "r.yaml", *more, "--json")
    assert (code, json.loads(out)["networks"][0]["epochs"]) == (0, 1)
    assert listing(folder) == ["r.instability.json", "r.instability.png", "r.instability.svg", "r.yaml"]
    code, out, _ = slimprune("instability", "r.yaml", *more)
    text = " ".join(out.split())
    assert code == 0
    assert "r.instability.json is written; r.instability.png and .svg lie beside it" in text
    assert "Test error at 3 places on the line" in text


def test_weights_go_back_to_the_branch(wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that repeats a training only nearly is played by a second training that begins from other weights."""
    from slimprune.pipeline import branched_trainings

    states: list[dict[str, torch.Tensor]] = []
    plain = branched_trainings.run_training

    def wavering(*given: Any, after_step: Callable[..., None], **more: Any) -> Any:
        module = given[2]
        if given[3].name.endswith("from step 3"):
            with torch.no_grad():
                module[0].weight.add_(1e-3)

        def watching(network: torch.nn.Module, done: int) -> None:
            after_step(network, done)
            if done == 3:
                states.append(copy.deepcopy(network.state_dict()))

        return plain(*given, after_step=watching, **more)

    monkeypatch.setattr(branched_trainings, "run_training", wavering)
    asked = {"at": ("3",), "points": 3, "networks": ("dense",), "out": tmp_path / "m.json"}
    pipeline.instability(**{**wanted, **asked})
    first, second = states
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
