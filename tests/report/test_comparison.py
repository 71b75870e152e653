from slimprune.report import comparison_markdown, comparison_page

from .comparisons import BUDGET, cells, document

PAPER = [{"row": "prospr", "budget": BUDGET, "top1": 93.32, "miou": None, "source": "Table 2"}]


def test_the_page_has_a_table_for_every_budget():
    text = comparison_markdown(document(paper=PAPER))
    head, rule, dense, winner = [line for line in text.splitlines() if line.startswith("|")][:4]
    assert head == (
        "|  | top-1, % | params | MACs | vs uniform, equal params | vs uniform, equal MACs | epochs | n | channels "
        "| scoring | peak memory | stability | paper |"
    )
    assert rule == "| --- |" + " ---: |" * 12
    assert dense == "| dense | 93.50 ± 0.71 | 20.0k | 400M | +4.50 | +3.00 | 3 | 2 | 100 |  |  |  |  |"
    assert winner == (
        "| **prospr** | **91.00 ± 1.41** | **1.05k** | **20.0M** | **+2.00** | **+0.50** | **3** | **2** | **100** "
        "| **2.5 s** | **3 MB** | **0.50** | **93.32 (Table 2)** |"
    )
    assert text.startswith("# VGG-11 on digits\n")
    assert "\n## Removed: params=0.9\n" in text
    assert "\n- Too few seeds to tell whether prospr beats uniform at equal MACs: +0.50 points" in text
    assert "\n- device: cpu (x86_64)\n- threads: 2\n" in text
    assert text.endswith("\n- arch: vgg11\n- epochs: 3\n- seeds: 0, 1\n")


def test_further_metrics_have_a_column_and_stand_beside_published_ones():
    """Top-5 of 0.98 and 0.99: mean 98.5, sd 0.71."""
    records = cells()
    for record, top5 in zip([one for one in records if one["row"] == "prospr"], (0.98, 0.99), strict=True):
        record["further"] = [{"name": "top5", "unit": "%", "higher_is_better": True, "final": top5}]
    page = comparison_markdown(document(records, paper=[{**PAPER[0], "top5": 99.7}]))
    head, _, dense, winner = [line for line in page.splitlines() if line.startswith("|")][:4]
    assert head.startswith("|  | top-1, % | top-5, % | params |")
    assert winner.startswith("| **prospr** | **91.00 ± 1.41** | **98.50 ± 0.71** |")
    assert winner.endswith("| **93.32, top-5 99.7 (Table 2)** |")
    assert dense.startswith("| dense | 93.50 ± 0.71 |  |")


def test_without_published_figures_there_is_no_column_for_them():
    assert "paper" not in comparison_markdown(document())


def test_a_budget_that_cannot_be_met_is_a_row():
    missed = {
        "row": "tight",
        "kind": "row",
        "budget": BUDGET,
        "seed": 0,
        "metric": "top1",
        "may_win": True,
        "recipe": cells()[0]["recipe"],
    }
    text = comparison_markdown(document([*cells(), {**missed, "refused": "cannot remove 0.9"}]))
    assert "| tight | no result |  |  |  |  |  | 0 |" in text
    assert "\n- tight has no result: cannot remove 0.9.\n" in text


def test_a_terminal_gets_the_columns_for_which_there_is_room():
    wide, narrow, tight = (comparison_page(document(), columns) for columns in (200, 80, 20))
    assert "stability" in wide
    assert "Δ MACs" in narrow
    assert "stability" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert "top-1, %" in tight
    assert "epochs" not in tight
    assert "\n* prospr" in narrow
    assert "\n  magnitude" in narrow
    assert "removed: params=0.9, 2 seeds, * the winner, Δ to uniform at equal cost" in narrow
    assert "Too few seeds to tell whether prospr beats uniform" in narrow
