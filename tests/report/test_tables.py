from typing import Any

import pytest

from slimprune.report import facts, markdown, protected_rows, summary_rows, verification, width_rows
from slimprune.report.tables import magnitude, stability_sentence, tiles

from .documents import LATENCY, ONNX, SALIENCY, SEARCH, TIMING, TRAINING, document


def test_dense_against_slim() -> None:
    assert summary_rows(document()) == [
        ("channels", "1,200", "300", "-75.00 %"),
        ("parameters", "4,000,000", "998,000", "-75.05 %"),
        ("MACs", "1,000,000,000", "1,000,000,000", "none"),
        ("weights", "16.0 MB", "4.8 kB", "-99.97 %"),
    ]


def test_accuracy_and_file_size_come_last_where_there_are_some() -> None:
    rows = summary_rows(document(training=TRAINING, onnx=ONNX))
    assert rows[4:] == [("ONNX file", "", "4.4 kB", ""), ("top-1", "not trained", "93.46 %", "")]


def test_a_trained_dense_network_shows_the_difference_in_points() -> None:
    dense = {"name": "dense", **TRAINING, "final": 0.94}
    assert summary_rows(document(training=TRAINING, baselines=[dense]))[-1] == (
        "top-1", "94.00 %", "93.46 %", "-0.54 points",
    )  # fmt: skip
    segmented = {**TRAINING, "miou": 0.5, "final": 0.5}
    del segmented["top1"]
    assert summary_rows(document(training=segmented))[-1][:3] == ("mean IoU", "not trained", "50.00 %")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0.0 kB"), (999_949, "999.9 kB"), (10**6, "1.0 MB"), (2_500_000_000, "2.5 GB")]
)
def test_sizes_have_a_fitting_unit(count: int, text: str) -> None:
    assert summary_rows(document(weight_bytes={"dense": 10**10, "slim": count}))[3][2] == text


def test_protected_layers_are_marked_and_explained_once_per_reason() -> None:
    protected = [{"layer": name, "reason": why} for name, why in (("a", "x"), ("head", "y"), ("b", "x"))]
    changed = document(protected=protected)
    assert width_rows(changed) == [("stem", "64", "16"), ("body.conv2", "64", "16"), ("head", "10", "10 *")]
    assert protected_rows(changed) == [("x", "a, b"), ("y", "head")]


def test_pictures_are_shown_with_their_titles() -> None:
    entry = {"title": "Test image 1, worst of 9", "file": "a.pictures/image-1.png"}
    page = markdown(document(pictures=[entry]))
    assert "## Pictures\n\nTest image 1, worst of 9\n\n![Test image 1, worst of 9](a.pictures/image-1.png)" in page
    assert "## Pictures" not in markdown(document(pictures=[]))


@pytest.mark.parametrize(("step", "said"), [(1, ""), (16, " in steps of 16")])
def test_free_sizes_are_said(step: int, said: str) -> None:
    onnx = {**ONNX, "size_step": step, "sizes": [[17, 19], [8, 17]]}
    assert verification(onnx) == f"{verification(ONNX)}, any height and width{said} (17x19, 8x17)"
    assert verification({**ONNX, "size_step": None, "sizes": []}) == verification(ONNX)


def test_facts_without_scoring_and_training() -> None:
    assert facts(document()) == [
        ("budget", "75.05 % of params removed (75 % asked), rule global"),
        ("proof", "relative difference 1.2e-14 (tolerance 1e-05)"),
    ]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"dense": 10**9, "slim": 10**9, "note": None}, "the same"),
        ({"dense": 10**9, "slim": 2_000_000, "note": None}, "1,000,000,000 dense and 2,000,000 slim"),
        ({"dense": None, "slim": None, "note": "expected a trace"}, "none; expected a trace"),
        (None, None),
    ],
)
def test_a_second_count_of_macs_is_a_fact(counts: dict[str, Any] | None, sentence: str | None) -> None:
    assert dict(facts(document(fvcore_macs=counts))).get("MACs by fvcore") == sentence


def test_every_limit_of_the_budget_is_said() -> None:
    budget = {**document()["budget"], "also": [{"quantity": "macs", "requested": 0.5, "achieved": 0.51234}]}
    assert dict(facts(document(budget=budget)))["budget"] == (
        "75.05 % of params removed (75 % asked), 51.23 % of macs removed (50 % asked), rule global"
    )


def test_a_search_is_said_with_what_it_cost() -> None:
    """Two trainings of one epoch, one of two."""
    assert dict(facts(document(search=SEARCH)))["search"] == "uniform after 3 short trainings, 4 epochs in all, 61 s"


def test_facts_of_a_whole_run() -> None:
    dense = {"name": "dense", **TRAINING, "epochs": 1}
    rows = dict(facts(document(saliency=SALIENCY, training=TRAINING, baselines=[dense], onnx=ONNX)))
    assert rows["scoring"] == "prospr, 1 draw of 3 steps, 1.3 s"
    assert rows["training"] == "12 epochs, final 93.46 %, best 94.00 %, 1,234 s"
    watched = dict(facts(document(training={**TRAINING, "validation": 0.925})))["training"]
    assert watched == "12 epochs, final 93.46 %, on held-out training images 92.50 %, best 94.00 %, 1,234 s"
    assert rows["dense"] == "1 epoch, final 93.46 %, best 94.00 %, 1,234 s"
    top5 = {"name": "top5", "unit": "%", "higher_is_better": True, "final": 0.991}
    further = dict(facts(document(training={**TRAINING, "further": [top5]})))["training"]
    assert further == "12 epochs, final 93.46 %, best 94.00 %, top-5 99.10 %, 1,234 s"
    assert rows["ONNX"] == verification(ONNX)
    assert list(rows) == ["scoring", "budget", "proof", "training", "dense", "ONNX"]


def test_stability_is_said_where_there_is_one() -> None:
    saliency = {**SALIENCY, "draws": 8, "stability": 0.256}
    assert facts(document(saliency=saliency))[0] == ("scoring", "prospr, 8 draws of 3 steps, stability 0.26, 1.3 s")


def test_a_verification_as_a_sentence() -> None:
    assert verification(ONNX) == (
        "differs by at most 1.5e-06 on 64 samples, predictions agree to 100 %, batches of 1, 2, 5"
    )


def test_values_and_pixels_are_no_predictions_that_agree() -> None:
    assert verification(ONNX, predicts=False) == "differs by at most 1.5e-06 on 64 samples, batches of 1, 2, 5"


def test_the_page_has_all_parts_in_order() -> None:
    page = markdown(document(saliency=SALIENCY, training=TRAINING, onnx=ONNX, warnings=["mind this"]))
    parts = [
        "# vgg19, 75 % of params asked to go\n\n|  | dense | slim | change |\n| --- | ---: | ---: | ---: |\n",
        "| parameters | 4,000,000 | 998,000 | -75.05 % |\n",
        "- proof: relative difference",
        "> mind this",
        "## Widths\n\n| layer | dense | slim |\n| --- | ---: | ---: |\n| `stem` | 64 | 16 |\n",
        "| `head` | 10 | 10 * |\n",
        "## Protected layers (*)\n\n- `head`: model output\n",
        "## Circumstances\n\n- device: cpu (x86_64)\n- threads: 2\n",
        "- protect: a, b\n",
    ]
    positions = [page.index(part) for part in parts]
    assert positions == sorted(positions)


def test_the_page_leaves_out_what_is_empty() -> None:
    page = markdown(document(protected=[], recipe={**document()["recipe"], "arch": None}))
    assert page.startswith("# your model, 75 % of params")
    assert "Protected" not in page
    assert "\n\n\n" not in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(54, "54"), (54_123, "54.1k"), (1_001_426, "1.00M"), (118_700_000, "119M"), (3.5e9, "3.50G"), (999_800, "1.00M"),
     (0, "0"), (None, "")],
)  # fmt: skip
def test_magnitudes_have_three_digits(value: float | None, text: str) -> None:
    assert magnitude(value) == text


def test_tiles_tell_what_was_asked_and_what_was_got() -> None:
    dense = {"name": "dense", **TRAINING, "final": 0.94}
    asked = {"quantity": "params", "requested": 0.75, "achieved": 0.7505}
    both = {**asked, "also": [{"quantity": "macs", "requested": 0.5, "achieved": 0.5}]}
    times = [{"speedup": 1.014}, {"speedup": 3.2}]
    found = tiles(document(training=TRAINING, baselines=[dense], budget=both, onnx=ONNX, latency=times))
    assert found == [
        ("top-1", "93.46 %", "dense 94.00 %, -0.54 points"),
        ("parameters", "998k", "of 4.00M: 75.05 % less, 75 % asked"),
        ("MACs", "1.00G", "of 1.00G: 0.00 % less, 50 % asked"),
        ("channels", "300", "of 1.20k: 75.00 % less"),
        ("speed-up", "1.01 to 3.20", "dense over slim time, 2 measurements"),
        ("ONNX agrees with torch", "100 %", "on 64 samples, outputs within 1.5e-06"),
        ("removal", "proven", "relative difference 1.2e-14, tolerance 1e-05"),
    ]


def test_tiles_leave_out_what_was_not_done() -> None:
    assert [name for name, *_ in tiles(document())] == ["parameters", "MACs", "channels", "removal"]
    assert tiles(document(latency=[{"speedup": 2.0}]))[3][1:] == ("2.00", "dense over slim time, 1 measurement")
    assert tiles(document(training=TRAINING))[0][2] == "dense not trained"


@pytest.mark.parametrize(
    ("stability", "verdict"),
    [(-0.1, "is mostly noise"), (0.29, "is mostly noise"), (0.3, "is settled in part"), (0.7, "is settled: other")],
)
def test_stability_is_put_into_words(stability: float, verdict: str) -> None:
    sentence = stability_sentence(document(saliency={**SALIENCY, "stability": stability}))
    assert sentence is not None
    assert f"correlation of {stability:.2f}. The ranking of channels {verdict}" in sentence
    assert "mean scores of layers" not in sentence


@pytest.mark.parametrize(("agreement", "end"), [(0.69, "draws."), (0.7, "draws would give nearly the same widths.")])
def test_agreement_of_layers_is_put_into_words(agreement: float, end: str) -> None:
    found = document(saliency={**SALIENCY, "stability": 0.1, "layer_agreement": agreement})
    sentence = stability_sentence(found)
    assert sentence is not None
    assert f"a correlation of {agreement:.2f} between two halves" in sentence
    assert sentence.endswith(end)
    assert f"stability 0.10, of layers {agreement:.2f}, 1.3 s" in dict(facts(found))["scoring"]


def test_one_draw_has_no_stability() -> None:
    assert stability_sentence(document(saliency=SALIENCY)) is None
    assert stability_sentence(document()) is None


def test_a_latency_budget_says_what_was_measured_and_where() -> None:
    lines = dict(facts(document(budget=LATENCY, timing=TIMING)))
    assert lines["budget"] == "50.60 % of latency removed (50 % asked), rule global"
    assert lines["latency"] == (
        "3.149 -> 1.555 ms, 49.0 to 52.0 % less (onnxruntime, batch 8, 2 threads on cpu (a); "
        "the best of 2 plans timed as a whole)"
    )
    assert lines["rounding"] == "widths in multiples of 16, which keeps most MACs"
    assert "latency again" not in lines
    assert "latency" not in dict(facts(document(timing={**TIMING, "trials": [], "chosen": None})))


def test_a_trained_network_that_was_timed_again_stands_beside_its_plan() -> None:
    again = {"network": "trained", "dense_ms": 3.2, "slim_ms": 1.6, "speedup": 2.0, "interval": [1.25, 2.5]}
    lines = dict(facts(document(budget=LATENCY, timing=TIMING, latency=[{**again, "network": "planned"}, again])))
    assert lines["latency again"] == "3.2 -> 1.6 ms, 20.0 to 60.0 % less (the trained network)"


def test_settings_that_were_left_open_are_left_out_of_the_text() -> None:
    page = markdown(document(recipe={**document()["recipe"], "engine": None, "protect": []}))
    assert "\n- ratio: " in page
    assert not {"- engine:", "- protect:"} & {line.strip() for line in page.splitlines()}
