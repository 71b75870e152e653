import math

import pytest

from slimprune.report import best_row
from slimprune.statistics import student_quantile

from .comparisons import BUDGET, both, cell, cells, document


def rows(**changes):
    return {row["row"]: row for row in document(**changes)["tables"][0]["rows"]}


def test_rows_have_mean_and_spread_over_seeds():
    row = rows()["prospr"]
    assert row["mean"] == pytest.approx((90 + 92) / 2)
    assert row["sd"] == pytest.approx(math.sqrt(((90 - 91) ** 2 + (92 - 91) ** 2) / (2 - 1)))
    assert row["best"] == pytest.approx((91 + 93) / 2)
    assert (row["n"], row["channels"], row["params"], row["macs"]) == (2, (100 + 101) / 2, (1000 + 1100) / 2, 2e7)
    assert (row["scoring_seconds"], row["scoring_peak_bytes"]) == ((2 + 3) / 2, 3_000_001)
    assert (row["epochs"], row["stability"], row["winner"]) == (3, 0.5, True)


def test_differences_are_those_to_the_uniform_networks():
    found = rows()
    assert found["prospr"]["over_uniform_params"] == pytest.approx(91 - 89)
    assert found["prospr"]["over_uniform_macs"] == pytest.approx(91 - 90.5)
    assert found["magnitude"]["over_uniform_params"] == pytest.approx(89.5 - 89)
    assert found["dense"]["over_uniform_macs"] == pytest.approx(93.5 - 90.5)
    assert found["uniform at equal params"]["over_uniform_params"] is None


def test_a_single_seed_has_no_spread():
    row = document([cell("prospr", 0, 90)])["tables"][0]["rows"][0]
    assert (row["n"], row["mean"], row["sd"]) == (1, pytest.approx(90), None)


def test_the_winner_has_the_best_mean_among_those_that_may_win():
    assert best_row(cells()) == "prospr"
    assert best_row([*both("a", 90, 90), *both("b", 85, 96), *both("c", 99, 99, may_win=False)]) == "b"
    assert best_row([*both("a", 90, 91), *both("b", 91, 90)]) == "a"
    assert best_row(both("uniform", 90, 91, may_win=False)) == "uniform"
    assert best_row([]) is None


def test_a_row_that_missed_the_budget_with_one_seed_may_not_win():
    missed = {
        "row": "a",
        "kind": "row",
        "budget": BUDGET,
        "seed": 1,
        "metric": "top1",
        "may_win": True,
        "refused": "no",
    }
    records = [cell("a", 0, 99), missed, *both("b", 90, 90)]
    assert best_row(records) == "b"
    row = document(records)["tables"][0]["rows"][0]
    assert (row["n"], row["mean"], row["refused"]) == (1, pytest.approx(99), "no")
    findings = document(records)["tables"][0]["findings"]
    assert findings == [
        "b is the best of 2 rows by these same results, which favours it.",
        "a has no result with seed 1: no.",
    ]
    (table,) = document([{**missed, "seed": 0}, missed])["tables"]
    assert table["winner"] is None
    assert table["findings"] == [
        "No row has a result with every seed, so there is no winner and nothing to measure it by.",
        "a has no result: no.",
    ]


def three(row, first, second, third, kind="row", **changes):
    return [cell(row, seed, final, kind, **changes) for seed, final in enumerate((first, second, third))]


def interval(mean, sd, compared):
    """A mean of three differences: half the width is Student's quantile for one of `compared`, times sd / sqrt(3)."""
    confidence = 1 - 0.05 / compared
    margin = student_quantile(confidence, 2) * sd / math.sqrt(3)
    ends = f"{mean - margin:+.2f} to {mean + margin:+.2f}"
    return f"{mean:+.2f} points, {100 * confidence:.4g} % interval {ends} over 3 seeds."


def test_what_is_said_follows_from_the_figures():
    """Five comparisons: the most certain one is judged at 99 %, the first that does not hold as one of three left."""
    records = [
        *three("prospr", 90, 92, 94),
        *three("uniform at equal params", 88.5, 90, 91.5, "uniform"),  # 1.5, 2 and 2.5: sd 0.5
        *three("uniform at equal MACs", 90, 91, 94, "uniform"),  # 0, 1 and 0: sd 0.577
        *three("prospr: shuffle", 91, 91, 94, "twin"),  # 1, -1 and 0: sd 1
        *three("prospr: reinit", 80, 81, 82, "twin"),  # -10, -11 and -12: sd 1
        *three("prospr: invert", 92, 94, 96.3, "twin"),  # 2, 2, 2.3: sd 0.173
    ]
    assert document(records)["tables"][0]["findings"] == [
        f"prospr and uniform at equal parameters cannot be told apart: {interval(2, 0.5, 3)}",
        f"prospr and uniform at equal MACs cannot be told apart: {interval(1 / 3, 1 / math.sqrt(3), 3)}",
        "With as many others in every layer (shuffle) the result cannot be told from the winner's: "
        f"{interval(0, 1, 3)}",
        f"With other initial weights (reinit) the result is worse: {interval(-11, 1, 4)}",
        f"With those of the lowest scores (invert) the result is better: {interval(2.1, 0.1 * math.sqrt(3), 5)}",
    ]


def test_twins_of_other_rows_are_measured_by_their_own_row():
    records = [
        *both("prospr", 90, 92),
        *both("magnitude", 80, 81),
        *both("prospr: shuffle", 90, 91, "twin"),  # 0 and -1
        *both("magnitude: invert", 83, 85, "twin"),  # 3 and 4
    ]
    first, second, *_ = document(records)["tables"][0]["findings"]
    assert first == "With as many others in every layer (shuffle): -0.50 points over 2 seeds, too few to tell."
    assert second == "magnitude, with those of the lowest scores (invert): +3.50 points over 2 seeds, too few to tell."


UNIFORM = three("uniform at equal params", 88, 90.1, 91.9, "uniform")  # 2, 1.9 and 2.1 below the row


def test_a_row_that_was_the_only_one_beats_uniform():
    (sentence,) = document([*three("prospr", 90, 92, 94), *UNIFORM])["tables"][0]["findings"]
    assert sentence == f"prospr beats uniform at equal parameters: {interval(2, 0.1, 1)}"


def test_a_winner_that_was_chosen_by_the_same_results_beats_nothing():
    found = document([*three("prospr", 90, 92, 94), *three("3sp", 80, 80, 80), *UNIFORM])["tables"][0]["findings"]
    chosen = "prospr is above uniform at equal parameters, but was chosen by these same results"
    assert found == [
        f"{chosen}: {interval(2, 0.1, 1)}",
        "prospr is the best of 2 rows by these same results, which favours it.",
    ]


def test_the_winner_is_chosen_on_held_out_images_where_there_are_any():
    """`3sp` has the better results, but the worse ones on the training images that were held out."""
    records = [*three("prospr", 90, 92, 94, validation=0.8), *three("3sp", 95, 95, 95, validation=0.7), *UNIFORM]
    (table,) = document(records)["tables"]
    assert best_row(records) == "prospr"
    assert [row["validation"] for row in table["rows"]] == [pytest.approx(80), pytest.approx(70), None]
    assert table["findings"] == [
        f"prospr beats uniform at equal parameters: {interval(2, 0.1, 1)}",
        "prospr is the best of 2 rows on training images that were held out.",
        "Above the winner, on the test images: 3sp (95.00 ± 0.00).",
    ]


def test_a_loss_to_uniform_is_said():
    records = three("prospr", 90, 92, 94) + three("uniform at equal MACs", 94, 96.2, 98, "uniform")
    (sentence,) = document(records)["tables"][0]["findings"]
    assert sentence.startswith("prospr loses to uniform at equal MACs: -4.07 points")


def test_two_seeds_leave_it_open():
    """However far apart they lie."""
    assert document()["tables"][0]["findings"] == [
        "Too few seeds to tell whether prospr beats uniform at equal parameters: +2.00 points over 2 seeds.",
        "Too few seeds to tell whether prospr beats uniform at equal MACs: +0.50 points over 2 seeds.",
        "With as many others in every layer (shuffle): -0.50 points over 2 seeds, too few to tell.",
        "With other initial weights (reinit): -10.50 points over 2 seeds, too few to tell.",
        "prospr is the best of 2 rows by these same results, which favours it.",
    ]


def test_what_speaks_against_the_winner_is_said():
    records = [*both("prospr", 80, 81), *both("late", 95, 95, may_win=False, epochs=6)]
    records += both("uniform at equal params", 90, 91, "uniform", epochs=2)
    (lost, above, unequal) = document(records)["tables"][0]["findings"]
    assert lost == "Too few seeds to tell whether prospr beats uniform at equal parameters: -10.00 points over 2 seeds."
    assert above == "Above the winner, but no method that scores the untrained network: late (95.00 ± 0.00)."
    assert unequal == (
        "Not of equal cost: late (6 epochs), uniform at equal params (2 epochs), where the winner took 3."
    )


def test_a_winner_among_rows_that_may_not_win_is_chosen_all_the_same():
    records = both("a", 80, 81, may_win=False) + both("b", 90, 91, may_win=False)
    assert document(records)["tables"][0]["findings"] == [
        "b is the best of 2 rows by these same results, which favours it."
    ]


def test_published_figures_stay_beside_ours():
    paper = [
        {"row": "prospr", "budget": BUDGET, "top1": 93.32, "miou": None, "source": "Table 2"},
        {"row": "dense", "budget": None, "top1": 93.6, "miou": None, "source": "Table 2"},
        {"row": "magnitude", "budget": "macs=0.9", "top1": 1.0, "miou": None, "source": "elsewhere"},
    ]
    with_paper, without = rows(paper=paper), rows()
    assert [entry["top1"] for entry in with_paper["prospr"].pop("paper")] == [93.32]
    assert [entry["top1"] for entry in with_paper["dense"].pop("paper")] == [93.6]
    assert with_paper["magnitude"]["paper"] == []
    without["prospr"].pop("paper")
    assert with_paper["prospr"] == without["prospr"]


def test_the_document_names_each_environment_once():
    records = [*cells(), cell("random", 0, 50, environment={"device": "cuda (H200)"})]
    assert [found["device"] for found in document(records)["environments"]] == ["cpu (x86_64)", "cuda (H200)"]


def test_a_budget_that_was_not_begun_has_no_table():
    assert [table["budget"] for table in document(budgets=[BUDGET, "macs=0.9"])["tables"]] == [BUDGET]
