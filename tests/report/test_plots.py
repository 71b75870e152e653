import subprocess
import sys

import pytest

from slimprune.report import draw_comparison
from slimprune.report.plots import STEP, WIDEST, comparison_figure, spread

from .comparisons import BUDGET, both, cells, document


def test_both_files_are_written_whole_and_equal_each_time(tmp_path):
    for name in ("a", "b"):
        draw_comparison(document(), tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_panels_say():
    figure = comparison_figure(document())
    left, right = figure.axes
    assert [axes.get_xlabel() for axes in (left, right)] == ["MACs per sample (log scale)", "parameters (log scale)"]
    assert left.get_ylabel() == "top-1 on the test set, % (mean ± one sd)"
    assert {axes.get_xscale() for axes in (left, right)} == {"log"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "dense (20.0k parameters, 400M MACs)",
        "prospr (winner)",
        "magnitude",
        "uniform at equal params",
        "uniform at equal MACs",
        "twin of the winner: shuffle",
        "twin of the winner: reinit",
    ]


def test_means_with_their_spread_are_drawn():
    left, _ = comparison_figure(document()).axes
    drawn = {container.get_label(): container for container in left.containers}
    line, _, (bars,) = drawn["prospr (winner)"].lines
    assert line.get_ydata() == pytest.approx([91])
    (low, high) = bars.get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(91 - 2**0.5), pytest.approx(91 + 2**0.5))


def test_rows_keep_their_look_over_budgets_and_no_two_share_it():
    tighter = [{**cell, "budget": "macs=0.9"} for cell in cells() if cell["kind"] != "dense"]
    many = [cell for number in range(30) for cell in both(f"row {number}", 50 + number, 51 + number)]
    figure = comparison_figure(document([*cells(), *many, *tighter], budgets=[BUDGET, "macs=0.9"]))
    lines = [container.lines[0] for container in figure.axes[0].containers]
    assert len({(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in lines}) == len(lines)
    assert sum(len(line.get_xdata()) == 2 for line in lines) == 6


def test_a_twin_of_any_row_has_the_colour_of_its_row():
    figure = comparison_figure(document([*cells(), *both("magnitude: invert", 80, 81, "twin")], twins="all"))
    lines = {container.get_label(): container.lines[0] for container in figure.axes[0].containers}
    own, twin = lines["magnitude"], lines["magnitude: invert"]
    assert (twin.get_color(), twin.get_markerfacecolor()) == (own.get_color(), "white")
    assert lines["prospr: shuffle"].get_color() == lines["prospr (winner)"].get_color()


def test_nearly_equal_costs_stand_side_by_side_and_others_where_they_are():
    first, second, other = spread([[1000.0], [1000.0], [100_000.0]])
    assert other == [pytest.approx(100_000)]
    extent = 100_000 / 1000
    assert second[0] / first[0] == pytest.approx(extent**STEP)
    assert first[0] * second[0] == pytest.approx(1000**2)


def test_no_point_is_moved_far():
    found = spread([*([1000.0] for _ in range(50)), [100_000.0]])
    assert found[49][0] / found[0][0] <= (100_000 / 1000) ** WIDEST
    assert spread([]) == []


def test_a_comparison_without_results_can_be_drawn(tmp_path):
    missed = {
        "row": "a",
        "kind": "row",
        "budget": BUDGET,
        "seed": 0,
        "metric": "top1",
        "may_win": True,
        "refused": "no",
    }
    draw_comparison(document([missed]), tmp_path / "a")
    assert (tmp_path / "a.png").exists()


def test_the_library_is_not_imported_before_something_is_drawn():
    check = "import sys, slimprune.cli; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)
