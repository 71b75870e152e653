import pytest

from slimprune.report import markdown_table


def test_figures_stand_to_the_right_and_names_to_the_left() -> None:
    assert markdown_table(["layer", "dense", "slim"], [["stem", 64, 16], ["head", 10, 10]]) == (
        "| layer | dense | slim |\n| --- | ---: | ---: |\n| stem | 64 | 16 |\n| head | 10 | 10 |"
    )


def test_columns_that_are_named_stand_to_the_left() -> None:
    assert markdown_table(["M", "method", "note"], [], left=(1, 2)).splitlines()[1] == "| ---: | --- | --- |"


@pytest.mark.parametrize(
    ("cell", "written"),
    [("a|b", r"a\|b"), ("two\nlines", "two lines"), ("\r\n", ""), ("two\r\nlines", "two lines"), (None, "None")],
)
def test_a_cell_cannot_break_the_table(cell: object, written: str) -> None:
    assert markdown_table([""], [[cell]]) == f"|  |\n| --- |\n| {written} |"
