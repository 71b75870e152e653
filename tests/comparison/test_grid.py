"""What a grid describes, cell by cell, and what it refuses."""

from typing import Any

import pytest

from slimprune.comparison.grid import Cell, Grid, make_grid, parsed_budget
from slimprune.errors import UsageError

BASE = {"arch": "vgg11", "data": "digits", "epochs": 3}


def settings(**changes: Any) -> dict[str, Any]:
    return {"base": BASE, "budgets": ["params=0.9"], "seeds": [0, 1], "criteria": ["prospr", "3sp"], **changes}


def grid(**changes: Any) -> Grid:
    return make_grid(settings(**changes))


def titles(cells: list[Cell]) -> list[str]:
    return [cell.title for cell in cells]


# What it describes ---------------------------------------------------------------------------------------------------


def test_cells_are_rows_times_seeds_in_the_order_of_the_table() -> None:
    rows = {"paper's placement": {"criterion": "prospr", "gate": "producer"}}
    assert titles(grid(rows=rows).row_cells("params=0.9")) == [
        "prospr, params=0.9, seed 0",
        "prospr, params=0.9, seed 1",
        "3sp, params=0.9, seed 0",
        "3sp, params=0.9, seed 1",
        "paper's placement, params=0.9, seed 0",
        "paper's placement, params=0.9, seed 1",
    ]


def test_a_cell_is_a_whole_recipe() -> None:
    rows = {"paper's placement": {"criterion": "prospr", "gate": "producer", "draws": 1}}
    given = grid(budgets=["macs=0.8,params=0.7"], rows=rows, seeds=[5])
    recipe = given.row_cells("macs=0.8,params=0.7")[-1].recipe
    assert (recipe.of, recipe.ratio, recipe.also) == ("macs", 0.8, {"params": 0.7})
    assert (recipe.arch, recipe.epochs, recipe.seed) == ("vgg11", 3, 5)
    assert (recipe.criterion, recipe.gate, recipe.draws) == ("prospr", "producer", 1)
    # The defaults of the digits, and the best rule for a MAC budget that looks at scores.
    assert (recipe.lr, recipe.schedule, recipe.rule) == (0.05, "cosine", "tempered")


def test_several_rules_make_a_row_each() -> None:
    named = grid(rules=["global", "tempered"], criteria=["3sp"]).methods()
    assert named == {
        "3sp (global)": {"criterion": "3sp", "rule": "global"},
        "3sp (tempered)": {"criterion": "3sp", "rule": "tempered"},
    }


def test_options_in_the_base_go_to_the_criteria_that_have_them() -> None:
    given = grid(base={**BASE, "steps": 2, "rounds": 7}, criteria=["prospr", "synflow", "magnitude"], seeds=[0])
    options = [cell.recipe.criterion_options() for cell in given.row_cells("params=0.9")]
    assert options == [{"steps": 2}, {"rounds": 7}, {}]


def test_equal_cells_have_equal_hashes_whatever_they_are_called() -> None:
    given = grid(rows={"again": {"criterion": "prospr"}}, seeds=[0])
    prospr, three_sp, again = (cell.recipe.hash for cell in given.row_cells("params=0.9"))
    assert prospr == again != three_sp


def test_the_dense_network_depends_on_the_training_alone() -> None:
    one = grid(base={**BASE, "draws": 3, "floor": 0.1}, budgets=["macs=0.5"])
    hashes = [[cell.recipe.hash for cell in given.dense_cells()] for given in (one, grid())]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 2
    assert [cell.recipe.hash for cell in grid(base={**BASE, "epochs": 4}).dense_cells()] != hashes[0]
    assert [cell.recipe.fast for cell in grid(base={**BASE, "fast": False}).dense_cells()] == [False, False]
    assert grid(dense=False).dense_cells() == []


def test_twins_differ_from_the_winner_in_one_thing() -> None:
    winners = grid(seeds=[3]).row_cells("params=0.9")[:1]
    twins = grid().control_cells(winners, ["global"])
    assert titles(twins) == [f"prospr: {kind}, params=0.9, seed 3" for kind in ("shuffle", "reinit", "invert")]
    assert [(cell.recipe.twin, cell.recipe.init) for cell in twins] == [
        ("shuffle", "keep"), (None, "reinit"), ("invert", "keep"),
    ]  # fmt: skip
    back = [cell.recipe.model_copy(update={"twin": None, "init": "keep"}) for cell in twins]
    assert back == [winners[0].recipe] * 3
    assert grid(twins=False).control_cells(winners, ["global"]) == []


def test_all_rows_may_have_twins_but_those_that_no_score_would_change() -> None:
    rows = {"gradual": {"when": "gradual", "unit": "weights"}, "erk": {"rule": "erk", "criterion": None}}
    given = grid(criteria=["random", "3sp"], rows=rows, seeds=[0, 1], twins="all")
    cells = given.row_cells("params=0.9")
    twins = given.control_cells(cells, [None] * len(cells))
    expected = {
        "random": ["reinit"],
        "3sp": ["shuffle", "reinit", "invert"],
        "gradual": ["shuffle", "reinit"],
        "erk": ["reinit"],
    }
    named = [f"{row}: {kind}" for row, kinds in expected.items() for kind in kinds]
    assert titles(twins) == [f"{name}, params=0.9, seed {seed}" for name in named for seed in (0, 1)]
    assert given.most_followers() == 2 * (2 + 4 * 3)
    assert grid(twins="winner", seeds=[0]).most_followers() == grid(seeds=[0]).most_followers() == 2 + 3
    assert grid(twins=False, seeds=[0], uniform=False).most_followers() == 0


def test_a_winner_with_other_initial_weights_is_not_its_own_twin() -> None:
    rows = {"fresh": {"criterion": "3sp", "init": "reinit"}}
    (winner,) = grid(criteria=[], rows=rows, seeds=[3]).row_cells("params=0.9")
    twins = grid().control_cells([winner], ["global"])
    assert [(cell.recipe.twin, cell.recipe.init) for cell in twins] == [("shuffle", "reinit"), ("invert", "reinit")]


@pytest.mark.parametrize(
    ("base", "row", "rule"),
    [
        ({"criterion": "3sp"}, {}, "tempered"),
        ({}, {"steps": 5}, "tempered"),
        ({}, {"gate": "norm"}, "tempered"),
        ({"criterion": "3sp"}, {"rule": "erk"}, "erk"),
        ({}, {"floor": 0.1}, "uniform"),
    ],
)
def test_a_row_about_scores_gets_a_rule_that_looks_at_them(base: Any, row: Any, rule: str) -> None:
    """Otherwise all its options would be for nothing, under a MAC budget."""
    given = grid(base={**BASE, **base}, rows={"row": row}, criteria=[], budgets=["macs=0.9"], seeds=[0])
    assert [cell.recipe.rule for cell in given.row_cells("macs=0.9")] == [rule]


def test_uniform_keeps_what_the_winner_kept_with_the_same_seed() -> None:
    winners = grid(budgets=["params=0.9,macs=0.5"]).row_cells("params=0.9,macs=0.5")[:2]
    kept = [{"params": 0.1, "macs": 0.25}, {"params": 0.0625, "macs": 0.5}]
    cells = grid().uniform_cells(winners, kept)
    assert [(cell.row, cell.recipe.seed, cell.recipe.of, cell.recipe.ratio) for cell in cells] == [
        ("uniform at equal params", 0, "params", 1 - 0.1),
        ("uniform at equal params", 1, "params", 1 - 0.0625),
        ("uniform at equal MACs", 0, "macs", 1 - 0.25),
        ("uniform at equal MACs", 1, "macs", 1 - 0.5),
    ]
    assert {(cell.recipe.rule, len(cell.recipe.also)) for cell in cells} == {("uniform", 0)}


def test_baselines_are_left_out_where_uniform_is_a_row() -> None:
    given = grid(rows={"uniform": {"rule": "uniform"}}, uniform=False, seeds=[0])
    winner = given.row_cells("params=0.9")[0]
    assert given.uniform_cells([winner], [{"channels": 0.5, "params": 0.1, "macs": 0.4}]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("params=0.9", {"of": "params", "ratio": "0.9", "and": {}}),
        (" params=0.95 , macs = 0.8", {"of": "params", "ratio": "0.95", "and": {"macs": "0.8"}}),
    ],
)
def test_budgets_as_text(text: str, found: dict[str, Any]) -> None:
    assert parsed_budget(text) == found


# What it refuses -----------------------------------------------------------------------------------------------------

REFUSED = [
    ({"budget": ["params=0.9"]}, r"unknown field 'budget' \(did you mean 'budgets'\?\)"),
    ({"seeds": []}, "seeds: Tuple should have at least 1 item"),
    ({"seeds": [0, 0]}, "seeds: expected each once, got 0 twice"),
    ({"criteria": []}, r"expected at least one row \(criteria or rows\), got none"),
    ({"criteria": ["3sp", "3sp"]}, "criteria: expected each once, got '3sp' twice"),
    ({"budgets": ["0.9"]}, r"budgets: expected QUANTITY=SHARE\[,QUANTITY=SHARE\], got '0.9'"),
    ({"budgets": ["params=0.9,params=0.8"]}, "budgets: expected each quantity once"),
    ({"budgets": ["flops=0.9"]}, "row 'prospr' at flops=0.9: of: expected 'params', 'macs', 'channels' or 'latency'"),
    (
        {"budgets": ["latency=0.5"]},
        r"budgets: expected what can be counted \(params, macs, channels\), got 'latency=0.5'",
    ),
    ({"budgets": ["macs=0.5,latency=0.5"]}, "budgets: expected what can be counted"),
    ({"base": {**BASE, "round_to": "auto"}}, "expected round_to as a number in a comparison, got auto"),
    ({"rows": {"a": {"engine": "torch"}}}, "expected no engine in a comparison, whose plans are not timed"),
    ({"budgets": ["params=1.9"]}, r"row 'prospr' at params=1.9: ratio: expected a share in \(0, 1\), got '1.9'"),
    ({"base": {**BASE, "criterion": ["3sp"]}, "criteria": [], "rows": {"a": {}}}, "criterion: "),
    ({"base": {**BASE, "ratio": 0.5}}, "base: expected no ratio, which differs from cell to cell, got 0.5"),
    ({"base": {**BASE, "epoch": 3}}, r"row 'prospr' at params=0.9: unknown field 'epoch' \(did you mean 'epochs'\?\)"),
    ({"base": {**BASE, "rounds": 3}}, "base: expected options of a criterion in the grid, got rounds"),
    ({"rows": {"long": {"epochs": 9}}}, "row 'long': expected epochs in base, since all rows are trained alike"),
    ({"rows": {"big": {"arch": "vgg19"}}}, "row 'big': expected arch in base"),
    ({"rows": {"late": {"seed": 9}}}, "row 'late': expected no seed, which differs from cell to cell, got 9"),
    ({"rows": {"prospr": {"gate": "norm"}}}, "rows: expected a name that is not taken, got 'prospr'"),
    ({"rows": {"dense": {"gate": "norm"}}}, "rows: expected a name that is not taken, got 'dense'"),
    ({"rows": {"a": {"gate": "left"}}}, "row 'a' at params=0.9: gate: expected 'consumer', 'norm' or 'producer'"),
    ({"paper": [{"row": "x", "top1": 1, "source": "s"}]}, r"paper: expected a row of the grid \(prospr, 3sp, dense\)"),
    (
        {"paper": [{"row": "3sp", "top1": 1, "source": "s"}]},
        r"paper: expected a budget of the grid \(params=0.9\)",
    ),
    ({"paper": [{"row": "dense", "source": "s"}]}, "paper: expected either top1 or miou of 'dense', got both or none"),
]


@pytest.mark.parametrize(("changes", "line"), REFUSED, ids=[line for _, line in REFUSED])
def test_refusals(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line) as caught:
        grid(**changes)
    assert "\n" not in str(caught.value)
