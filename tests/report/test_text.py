import pytest

from slimprune.report import named_lines, paragraph
from slimprune.report.text import side_by_side, text_table


def test_sentences_stand_below_each_other() -> None:
    assert named_lines([("a", "one two three"), ("long", "x")], columns=14) == "a     one two\n      three\nlong  x"


def test_sentences_stand_below_their_names_where_a_word_finds_no_room_beside() -> None:
    rows = [("a-long-name", "one considerable word"), ("b", "two")]
    assert named_lines(rows, columns=20) == "a-long-name\n    one considerable\n    word\nb\n    two"


def test_a_number_and_its_percent_sign_stay_together() -> None:
    assert named_lines([("a", "one 50 % two")], columns=9) == "a  one\n   50 %\n   two"


def test_a_word_that_is_too_long_stays_whole() -> None:
    path = "/a/path/that-must/stay-whole"
    assert path in named_lines([("a", f"see {path}")], columns=20)
    assert paragraph(f"see {path} there", columns=20).splitlines() == ["see", path, "there"]


def test_columns_are_flush_right_but_the_first() -> None:
    form = (("", "dense"), [("channels", "1"), ("[a]", "1,000,000")])
    assert text_table([form]).splitlines() == [
        "               dense",
        "────────────────────",
        "channels           1",
        "[a]        1,000,000",
    ]


@pytest.mark.parametrize(("columns", "shown"), [(40, 12), (12, 12), (11, 7), (7, 7), (6, 2), (1, 2)])
def test_the_first_form_that_fits_is_shown(columns: int, shown: int) -> None:
    """Columns of two letters with gaps of three."""
    forms = [(["ab"] * count, [["cd"] * count]) for count in (3, 2, 1)]
    assert max(map(len, text_table(forms, columns).splitlines())) == shown


def test_cells_run_downwards() -> None:
    assert side_by_side(["one", "two", "three"], columns=14).splitlines() == ["one     three", "two"]
    assert side_by_side(["one", "two", "three"], columns=2).splitlines() == ["one", "two", "three"]
