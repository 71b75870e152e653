import json
from dataclasses import replace

import pytest

from slimprune.files import ReportDocument, read_document
from slimprune.results import Measured, Report, Saliency, SecondOpinion, check_to_json
from tests.conftest import Compressed

FIELDS = {
    "schema_version", "recipe", "environment", "channels", "params", "macs", "budget", "widths", "protected", "proof",
    "saliency", "training", "onnx", "latency", "baselines",
}  # fmt: skip


@pytest.fixture(scope="module")
def report(compressed: Compressed) -> Report:
    return compressed.report


def test_the_document_has_the_fields_of_the_design(report: Report) -> None:
    document = report.to_json()
    assert document.keys() >= FIELDS
    assert document["schema_version"] == 1
    assert document["recipe"].keys() >= {"arch", "data", "ratio", "of", "criterion", "seed", "hash"}
    assert document["environment"].keys() >= {"device", "threads", "python", "torch", "torchvision"}
    assert document["budget"].keys() == {"quantity", "requested", "achieved", "also"}
    assert document["proof"].keys() >= {"max_rel_diff", "tolerance", "passed"}
    of_scoring = {"criterion", "steps", "draws", "stability", "layer_agreement", "seconds", "peak_bytes"}
    assert document["saliency"].keys() == of_scoring
    assert document["training"].keys() == {"epochs", "top1", "best", "final", "seconds", "history"}
    assert document["onnx"].keys() == {
        "path", "opset", "max_abs_diff", "top1_agreement", "samples", "batches", "size_step", "sizes", "bytes",
    }  # fmt: skip
    assert document["pictures"] == []
    assert document["widths"][0].keys() == {"group", "layer", "dense", "slim"}
    assert document["protected"] == [{"layer": "8", "reason": "model output"}]


def test_the_document_is_json_and_survives_it(report: Report) -> None:
    document = report.to_json()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == read_document(ReportDocument, text, "report") == document


def test_shares_are_of_the_dense_network(report: Report) -> None:
    document = report.to_json()
    widths = {entry["layer"]: entry["slim"] for entry in document["widths"]}
    first, second = widths["0"], widths["3"]
    # 3x3 convolutions with bias, norms of two vectors, a linear layer to two classes
    assert document["params"]["dense"] == (27 + 1 + 2) * 8 + (9 * 8 + 1 + 2) * 16 + 17 * 2
    assert document["params"]["slim"] == (27 + 1 + 2) * first + (9 * first + 1 + 2) * second + (second + 1) * 2
    assert document["channels"] == {"dense": 26, "slim": first + second + 2, "removed": 1 - (first + second + 2) / 26}
    assert document["macs"]["dense"] == 16 * 16 * 27 * 8 + 8 * 8 * 9 * 8 * 16 + 16 * 2
    assert document["budget"]["achieved"] == document["params"]["removed"] >= 0.5


def test_parts_that_did_not_run_are_empty(report: Report) -> None:
    bare = replace(report, saliency=None, training=None, dense_training=None, onnx=None, onnx_bytes=None).to_json()
    assert [bare[key] for key in ("saliency", "training", "onnx")] == [None, None, None]
    assert bare["baselines"] == []


def test_layers_that_a_file_of_weights_did_not_have_are_named(report: Report) -> None:
    assert report.warnings == replace(report, without_weights=()).warnings
    found = replace(report, without_weights=("8.weight", "8.bias")).warnings
    assert any("drawn at random: 8.weight, 8.bias" in warning for warning in found)


def test_a_reset_head_without_effect_is_a_note(report: Report) -> None:
    note = "reset_head has no effect: the head of the given weights fits the classes of the data"
    recipe = report.recipe.model_copy(update={"weights": "w.pth", "reset_head": True})
    assert note in replace(report, recipe=recipe).warnings
    assert note not in replace(report, recipe=recipe, without_weights=("8.weight",)).warnings
    assert note not in report.warnings


def test_frozen_parameters_are_named(report: Report) -> None:
    assert not any("frozen" in warning for warning in report.warnings)
    found = replace(report, frozen=("0.weight", "1.bias")).warnings
    assert "frozen, so slimmed but not trained: 0.weight, 1.bias" in found


@pytest.mark.parametrize(("stability", "noisy"), [(None, False), (0.29, True), (0.3, False), (-0.2, True)])
def test_a_ranking_that_is_noise_is_said(report: Report, stability: float | None, noisy: bool) -> None:
    saliency = Saliency("prospr", 3, 4, stability, 1.0, 0)
    warnings = replace(report, saliency=saliency).warnings
    assert [("mostly noise" in warning) for warning in warnings] == ([True] if noisy else [])


@pytest.mark.parametrize(("agreement", "settled"), [(None, False), (0.69, False), (0.7, True)])
def test_widths_that_do_not_depend_on_the_draws_are_said(
    report: Report, agreement: float | None, settled: bool
) -> None:
    warnings = replace(report, saliency=Saliency("prospr", 3, 4, 0.1, 1.0, 0, agreement)).warnings
    assert [("how wide layers become is not" in warning) for warning in warnings] == [settled]


def test_macs_that_were_predicted_wrongly_are_said(report: Report) -> None:
    cost = replace(report.slim.cost, macs=report.slim.cost.macs * 2)
    wrong = replace(report, saliency=None, fvcore=None, slim=Measured(cost, report.slim.weight_bytes))
    assert [f"the slim network takes {cost.macs:,}" in warning for warning in wrong.warnings] == [True]


def test_fvcore_gives_a_second_opinion_on_both_networks(report: Report) -> None:
    document = report.to_json()
    counted = {name: document["macs"][name] for name in ("dense", "slim")}
    assert document["fvcore_macs"] == {**counted, "note": None}
    other = SecondOpinion(counted["dense"] * 2, None, "expected a model that fvcore can trace")
    found = replace(report, fvcore=other)
    assert found.to_json()["fvcore_macs"]["note"] == other.note
    assert [warning for warning in found.warnings if "fvcore" in warning] == [
        f"the dense network takes {counted['dense']:,} MACs, fvcore counts {2 * counted['dense']:,}"
    ]
    assert replace(report, fvcore=None).to_json()["fvcore_macs"] is None


def test_a_verification_has_its_whole_path(report: Report) -> None:
    assert report.onnx is not None
    assert check_to_json(report.onnx)["path"] == str(report.onnx.path)
    assert report.to_json()["onnx"]["path"] == report.onnx.path.name


def test_layers_stand_in_the_models_order(report: Report) -> None:
    turned = replace(report, plan=replace(report.plan, groups=report.plan.groups[::-1]))
    assert [entry["layer"] for entry in turned.to_json()["widths"]] == ["0", "3", "8"]
