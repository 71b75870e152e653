"""`compress` and `plan` with `unit: weights`: masks that hold, what is reported, refused and resumed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import nn

from slimprune import Recipe, Report, compress, load, pipeline
from slimprune.errors import BudgetError, UsageError
from slimprune.types import REMARK
from tests.commands import Run, error_line
from tests.pipeline.test_compress import compress_own, own_model, stop_at, weights

MASKED = ("0.weight", "3.weight", "8.weight")
"""Of the tiny architecture: 8 * 3 * 9 = 216, 16 * 8 * 9 = 1152 and 16 * 2 = 32 weights."""


@pytest.fixture(scope="module")
def masked(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """A run with a sparsity of 0.8: of 1,400 weights 280 stay."""
    out = tmp_path_factory.mktemp("masked") / "m.onnx"
    given = {**settings, "unit": "weights", "ratio": 0.8, "criterion": "snip", "epochs": 2, "device": "cpu"}
    return compress(**given, out=out), out


def zeros(folder: Path) -> dict[str, int]:
    tensors = load_file(folder / "weights.safetensors")
    return {name: int((tensors[name] == 0).sum()) for name in MASKED}


def test_as_many_weights_are_zero_after_training_as_were_masked(masked: tuple[Report, Path]) -> None:
    report, out = masked
    assert report.masks is not None
    assert sum(zeros(out.with_suffix(".slim")).values()) == 1400 - 280
    assert list(zeros(out.with_suffix(".slim")).values()) == [
        layer.weights - layer.kept for layer in report.masks.layers
    ]


def test_what_the_report_holds(masked: tuple[Report, Path]) -> None:
    report, out = masked
    document = json.loads(out.with_suffix(".report.json").read_text())
    assert document == report.to_json()
    masks = document["masks"]
    assert (masks["weights"], masks["kept"], masks["sparsity"], masks["empty"]) == (1400, 280, 0.8, [])
    assert [layer["layer"] for layer in masks["layers"]] == ["0", "3", "8"]
    # The first convolution uses each weight at 16 * 16 places, the second at 8 * 8, the linear layer once.
    places = {"0": 256, "3": 64, "8": 1}
    assert [layer["sparse_macs"] for layer in masks["layers"]] == [
        layer["kept"] * places[layer["layer"]] for layer in masks["layers"]
    ]
    assert document["params"]["dense"] - document["params"]["slim"] == 1400 - 280
    assert document["macs"]["slim"] == masks["sparse_macs"]
    assert document["weight_bytes"]["dense"] == document["weight_bytes"]["slim"]
    assert document["channels"] == {"dense": 26, "slim": 26, "removed": 0}
    assert (document["proof"], document["widths"]) == (None, [])
    assert document["budget"] == {"quantity": "params", "requested": 0.8, "achieved": 0.8, "also": []}
    assert document["saliency"]["draws"] == 1


def test_every_page_says_that_nothing_gets_faster(masked: tuple[Report, Path]) -> None:
    _, out = masked
    for page in (out.with_suffix(".report.md"), out.with_suffix(".report.html")):
        text = page.read_text()
        assert "nothing gets faster or smaller" in text
        assert "80 % of the weights asked to be zero" in text
        assert "relative difference" not in text
    assert "| `3` | 1,152 |" in out.with_suffix(".report.md").read_text()


def test_the_onnx_file_is_dense_with_zeros(masked: tuple[Report, Path]) -> None:
    _, out = masked
    stored = [numpy_helper.to_array(tensor) for tensor in onnx.load(out).graph.initializer]
    sizes = {216: 0, 1152: 0, 32: 0}
    for values in stored:
        if values.size in sizes:
            sizes[values.size] += int((values == 0).sum())
    assert list(sizes.values()) == list(zeros(out.with_suffix(".slim")).values())


def test_the_bundle_loads_and_can_be_verified(masked: tuple[Report, Path], slimprune: Callable[..., Run]) -> None:
    bundle, file = masked[1].with_suffix(".slim"), masked[1]
    assert load(bundle, trust_code=True)[3].weight.shape == (16, 8, 3, 3)  # type: ignore[index]
    code, out, _ = slimprune("verify", bundle, file, "--trust-code")
    assert (code, "predictions agree to 100 %" in " ".join(out.split())) == (0, True)


def test_the_command_says_it_too(flags: list[str], slimprune: Callable[..., Run], tmp_path: Path) -> None:
    _, out, _ = slimprune("compress", *flags, "--unit", "weights", "--out", tmp_path / "m.slim")
    text = " ".join(out.split())
    assert "nothing gets faster or smaller" in text
    assert "layer weights not masked sparsity" in text
    assert "dense masked change" in text


def test_a_model_object(tmp_path: Path) -> None:
    model = own_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = compress_own(model, tmp_path / "m.slim", unit="weights", criterion="grasp", protect=["8"])
    assert report.masks is not None
    first, second, last = report.masks.layers
    assert (first.weights, second.weights, last.weights) == (8 * 27, 6 * 72, 12)
    assert (last.kept, last.protected_reason) == (12, "asked for by --protect 8")
    assert first.kept + second.kept + 12 == (216 + 432 + 12) / 2
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def scored(settings: dict[str, Any], **changes: Any) -> Report:
    return pipeline.plan(**{**settings, "unit": "weights", "ratio": 0.9, "criterion": "magnitude", **changes})


@pytest.mark.parametrize(
    "criterion",
    ["prospr", "prospr-first-order", "snip", "grasp", "synflow", "force", "iter-snip", "magnitude", "random"],
)
@pytest.mark.parametrize("rule", ["global", "layer-wise"])
def test_every_criterion(settings: dict[str, Any], criterion: str, rule: str) -> None:
    more = {"rounds": 3} if criterion in ("synflow", "force", "iter-snip") else {}
    report = scored(settings, criterion=criterion, rule=rule, **more)
    assert report.masks is not None
    assert report.training is None
    if rule == "layer-wise":
        assert [layer.kept for layer in report.masks.layers] == [22, 115, 3]  # 21.6, 115.2 and 3.2
    else:
        assert report.masks.kept == 140


def test_defaults(settings: dict[str, Any]) -> None:
    recipe = Recipe(unit="weights", data="digits").with_defaults()
    assert (recipe.rule, recipe.draws, recipe.round_to) == ("global", 1, 1)
    given = {name: value for name, value in settings.items() if name != "draws"}
    assert pipeline.plan(**given, unit="weights").saliency.criterion == "prospr"  # type: ignore[union-attr]


def test_the_unit_decides_the_hash_and_old_hashes_stay() -> None:
    old = Recipe(arch="resnet20")
    assert Recipe(arch="resnet20", unit="channels").hash == old.hash
    assert Recipe(arch="resnet20", unit="weights").hash != old.hash


# Networks that are trained already -----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["after-training", "rewind"])
def test_a_trained_network_is_masked_by_magnitude(settings: dict[str, Any], when: str, tmp_path: Path) -> None:
    given = {**settings, "unit": "weights", "when": when, "ratio": 0.5, "out": tmp_path / "m.slim"}
    report = compress(**given)
    assert report.saliency is not None
    assert report.saliency.criterion == "magnitude"
    assert (report.accuracies is not None) == (when == "after-training")
    assert sum(zeros(tmp_path / "m.slim").values()) == 700


# Twins ---------------------------------------------------------------------------------------------------------------


def test_twins_have_as_many_weights_in_every_layer(settings: dict[str, Any], tmp_path: Path) -> None:
    def run(name: str, **changes: Any) -> tuple[Report, dict[str, torch.Tensor]]:
        given = {**settings, "unit": "weights", "criterion": "snip", "device": "cpu", "out": tmp_path / f"{name}.slim"}
        report = compress(**{**given, **changes})
        return report, load_file(tmp_path / f"{name}.slim" / "weights.safetensors")

    original, tensors = run("original")
    for name, changes in {
        "shuffle": {"twin": "shuffle"}, "invert": {"twin": "invert"}, "reinit": {"init": "reinit"},
    }.items():  # fmt: skip
        twin, other = run(name, **changes)
        assert twin.masks == original.masks
        same_places = all(torch.equal(tensors[key] == 0, other[key] == 0) for key in MASKED)
        assert same_places == (name == "reinit")
        assert not torch.equal(tensors["0.weight"], other["0.weight"])


# Bad input -----------------------------------------------------------------------------------------------------------


def test_a_layer_without_weights_is_named_in_one_line(settings: dict[str, Any], tmp_path: Path) -> None:
    heard: list[Any] = []
    given = {**settings, "unit": "weights", "criterion": "magnitude", "ratio": 0.9999, "out": tmp_path / "m.slim"}
    with pytest.raises(BudgetError, match=r"at most 1,399 of 1,400 weights beside rule global, got a ratio of 0.9999"):
        compress(**given)
    report = compress(**{**given, "ratio": 0.998}, listener=lambda *event: heard.append(event))
    assert report.masks is not None
    empty = [layer.layer for layer in report.masks.layers if layer.kept == 0]
    assert empty
    sentence = f"no weight is left in {len(empty)} of 3 layers, whose outputs depend on no input any more: "
    assert report.warnings[0] == sentence + ", ".join(empty)
    assert (REMARK, 1, 1, report.warnings[0]) in heard
    assert (tmp_path / "m.report.md").read_text().startswith(f"> **{report.warnings[0]}**")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--of", "macs"], "expected a budget of params alone beside --unit weights, got macs"),
        (["--and", "macs=0.5"], "expected a budget of params alone beside --unit weights, got params, macs"),
        (["--rule", "uniform"], "expected a rule for weights (global, layer-wise, erk), got 'uniform'"),
        (["--init", "rescale"], "expected --init keep or reinit beside --unit weights, got rescale"),
        (["--criterion", "bn-scale"], "expected a criterion that scores weights (3sp, force,"),
        (["--rule", "layer-wise", "--ratio", "0.999"], "at most 1,397 of 1,400 weights beside rule layer-wise"),
        (["--protect", "*"], "at most 0 of 1,400 weights beside the protected layers"),
        (["--protect", "nothing"], "expects the name or pattern of a layer (0, 3, 8, ...), got 'nothing'"),
    ],
)
def test_what_is_refused(
    flags: list[str], more: list[str], line: str, slimprune: Callable[..., Run], tmp_path: Path
) -> None:
    ran = slimprune("compress", *flags, "--unit", "weights", *more, "--out", tmp_path / "m.onnx")
    assert ran[0] != 0
    assert line in error_line(ran)
    assert not list(tmp_path.iterdir())


def test_options_without_effect_are_said(settings: dict[str, Any]) -> None:
    report = scored(settings, floor=0.1, gate="norm", round_to=8)
    reason = "has no effect: single weights are masked, and no channel is removed"
    assert report.notes == (f"--floor {reason}", f"--gate {reason}", f"--round-to {reason}")


def test_rounds_of_a_trained_network_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    given = {**settings, "unit": "weights", "when": "after-training", "rounds": 2, "epochs": 2}
    with pytest.raises(UsageError, match="or one round of pruning, beside --unit weights, got --rounds 2"):
        compress(**given, out=tmp_path / "m.slim")


def test_a_network_that_cannot_be_traced_for_channels_can_be_masked(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.body(x).relu()
            return self.head((x if x.shape[0] != 1 else x[:1]).mean((2, 3)).nan_to_num())

    report = compress_own(Odd(), tmp_path / "m.slim", unit="weights", criterion="snip")
    assert report.masks is not None
    assert report.masks.kept == (108 + 8) / 2


# Interrupted runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_resumed_run_ends_with_equal_weights(
    settings: dict[str, Any], epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**settings, "unit": "weights", "criterion": "prospr", "epochs": 2, "device": "cpu"}
    compress(**given, out=tmp_path / "whole" / "m.slim")
    out = tmp_path / "resumed" / "m.slim"

    with pytest.raises(KeyboardInterrupt):
        compress(**given, out=out, listener=stop_at(epoch))
    masks = sys.modules["slimprune.pipeline.masks"]
    monkeypatch.setattr(masks, "score_weights", lambda *_, **__: pytest.fail("scored again"))
    report = compress(**given, out=out)
    assert weights(out) == weights(tmp_path / "whole" / "m.slim")
    assert report.saliency is not None
    assert report.saliency.criterion == "prospr"


def test_balanced_batches_are_what_is_scored(settings: dict[str, Any]) -> None:
    kept = []
    for balanced in (False, True):
        report = scored(settings, criterion="snip", score_balanced=balanced, seed=2)
        assert report.masks is not None
        kept.append([layer.kept for layer in report.masks.layers])
    assert kept[0] != kept[1]
    with pytest.raises(UsageError, match="expected score_batch as a multiple of the 2 classes, got 7"):
        scored(settings, criterion="snip", score_balanced=True, score_batch=7)
